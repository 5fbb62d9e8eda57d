"""The libraries of the extra `clinic`, for DICOM and NIfTI files, and errors of reading these.

What is said of a file names the file, its attributes and its sizes, never a value of the patient: messages of the
libraries, which may quote what they could not parse, are not passed on.
"""

import contextlib
import functools
import importlib
import logging
import os
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

from ddim_jax.imageio.images import AGAIN
from ddim_jax.runtime.errors import DataError, InputError, install_command


@functools.cache
def library(name: str) -> Any:
    """A module of the extra `clinic`.

    Raises:
      InputError: it is not installed.
    """
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{name.partition('.')[0]} is not installed; {install_command('clinic')}") from error
    for package in ("pydicom", "highdicom", "nibabel"):  # which quote what they find odd in a header, such as a name
        logging.getLogger(package).setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", module=rf"{package}\b.*")
    if name == "pydicom":
        module.config.settings.reading_validation_mode = module.config.IGNORE
    return module


@contextlib.contextmanager
def errors_naming(path: str | os.PathLike, kind: str = "DICOM", fault: str | None = None) -> Iterator[None]:
    """Turns whatever reading a file raises into a DataError that names it and quotes nothing of its content.

    It says `fault`, by default that the file is damaged or none of `kind`.
    """
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise DataError(
            f"{path}: there is not enough memory to decode it. Free some, or, if it is a small image, {AGAIN}."
        ) from error
    except BaseException as error:  # a damaged file makes the libraries raise anything, a panic of Rust among it
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
        if fault is not None:
            raise DataError(f"{path}: {fault} ({_cause(error)}).") from None
        raise DataError(f"{path}: is truncated, damaged or no {kind} file ({_cause(error)}); {AGAIN}.") from None


def _cause(error: BaseException) -> str:
    """The kind of an error in a word or some, without its text, which may quote what is in the file."""
    kind = type(error)
    if kind is zlib.error:
        return "its compressed data are damaged"
    if isinstance(error, EOFError):
        return "it ends early"
    if isinstance(error, AttributeError) and library("pydicom.datadict").tag_for_keyword(str(error.name)) is not None:
        return f"it has no {error.name}"
    return kind.__name__ if kind.__name__ != "error" else f"{kind.__module__}.error"

"""Files that are either whole or not there."""

import contextlib
import errno
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ddim_jax.runtime.errors import InputError

_NO_FLUSHING = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}
"""The errors of file systems on which a folder cannot be flushed, some networks' among them."""


@contextlib.contextmanager
def errors_naming(path: str | os.PathLike) -> Iterator[None]:
    """Gives an OSError of the block `path` for its file name where it has none, as when a full disk refuses a write."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or os.fspath(path)
        raise


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, suffix: str | None = None) -> Iterator[Path]:
    """Yields a temporary path beside `path`; what was written there replaces `path` when the block ends well.

    The temporary file is flushed to disk before the rename, so a crash leaves the old file or the new one, never a
    part. Its name is short, whatever that of `path` (a file system has 255 bytes for one), and keeps only the suffix,
    because image writers choose their format by it: give it where it has two parts, as ".nii.gz". On an error it is
    removed.

    Raises:
      OSError: the folder cannot be written to, the disk is full, or the name is too long; `path` is its file name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{uuid.uuid4().hex}.partial{path.suffix if suffix is None else suffix}"
    try:
        with errors_naming(path):
            yield temporary
            flush_file(temporary)
            os.replace(temporary, path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename in (temporary, os.fspath(temporary)):
            error.filename = os.fspath(path)  # the one that somebody knows
        temporary.unlink(missing_ok=True)
        raise


def flush_file(path: str | os.PathLike) -> None:
    """Flushes a file to the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def flush_folder(folder: str | os.PathLike) -> None:
    """Flushes the names in a folder to the disk, where the file system knows how to.

    Raises:
      OSError: the disk fails, or the folder cannot be opened; `folder` is its file name.
    """
    with errors_naming(folder):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        except OSError as error:
            if error.errno not in _NO_FLUSHING:
                raise
        finally:
            os.close(opened)


def make_folder(folder: str | os.PathLike) -> None:
    """Makes `folder` if it is not there.

    Raises:
      InputError: it cannot be made, for instance because a file of that name is there.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: the folder for the results cannot be made ({error.strerror}); choose another"
        ) from error


def check_place(folder: str | os.PathLike) -> None:
    """Checks, without making anything, that `folder` could be made and written to.

    Raises:
      InputError: it could not; what stands in the way is named.
    """
    there = Path(folder).absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "may not be written to" if there.is_dir() else "is a file"
        raise InputError(f"{folder}: the folder for the results cannot be made or used: {there} {why}; choose another")


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` (UTF-8) to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_text(value: Any) -> str:
    """`value` as indented JSON with a final newline; NaN and infinities are refused (ValueError)."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `json_text(value)` to `path` atomically."""
    write_text(path, json_text(value))

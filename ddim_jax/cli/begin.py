"""The beginning of every command that computes."""

import logging
import os
from pathlib import Path

import absl.logging
import jax
from absl import flags

import ddim_jax
from ddim_jax.runtime import allocator, compile_cache
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.limits import allow_open_files
from ddim_jax.runtime.pinned import pin
from ddim_jax.runtime.printable import Formatter

_PACKAGE = str(Path(ddim_jax.__file__).parent)


def begin() -> Path | None:
    """Prepares this process for a command; called once, before anything is computed.

    Returns:
      The folder in which programs are kept between calls, as `compile_cache.keep_compiled_programs` has it.

    Raises:
      InputError: the system, the environment or the cache folder do not allow the command to work.
    """
    show_log()
    allow_open_files()
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise InputError("the current folder was removed; change to one that is there (cd)") from error
    pin()
    allocator.keep_freed_memory()
    return compile_cache.keep_compiled_programs()


def find_device() -> None:
    """Checks that there is a device to compute on; after the processes of a run have found each other.

    Raises:
      InputError: JAX finds none.
    """
    if missing := no_device():
        said, todo = missing
        raise InputError(f"JAX finds no device ({said}); {todo}; ddim-jax doctor says more")


def no_device() -> tuple[str, str] | None:
    """Returns the reason that JAX finds no device, and what to do about it; None where it finds one."""
    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:  # the former without a word, for CUDA that is not installed
        chosen = os.environ.get("JAX_PLATFORMS")
        todo = f"JAX_PLATFORMS is {chosen!r}: unset it, or set it to cpu" if chosen else "set JAX_PLATFORMS=cpu"
        return str(error).partition("\n")[0] or "there is no such device, or no plugin for it", todo
    return None


def show_log() -> None:
    """Has what is logged shown in lines, by a command whose arguments are parsed."""
    log_in_lines()
    if not flags.FLAGS.is_parsed():  # a command without flags of absl, which would warn of it
        flags.FLAGS.mark_as_parsed()
    absl.logging.use_absl_handler()


def log_in_lines() -> None:
    """Has what is logged shown in lines; of other packages warnings alone, Orbax writes dozens for a checkpoint."""
    handler = absl.logging.get_absl_handler()
    handler.setFormatter(Formatter("%(levelname)s: %(message)s"))
    handler.addFilter(_worth_showing)


def _worth_showing(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.pathname.startswith(_PACKAGE)

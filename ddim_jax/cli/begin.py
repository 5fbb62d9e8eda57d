"""The beginning of every command that computes."""

import logging
from pathlib import Path

import absl.logging

import ddim_jax
from ddim_jax.runtime import allocator, compile_cache
from ddim_jax.runtime.limits import allow_open_files
from ddim_jax.runtime.printable import Formatter

_PACKAGE = str(Path(ddim_jax.__file__).parent)


def begin() -> Path | None:
    """Prepares this process for a command; called once, before anything is computed.

    Returns:
      The folder in which programs are kept between calls, as `compile_cache.keep_compiled_programs` has it.

    Raises:
      InputError: the system, the environment or the cache folder do not allow the command to work.
    """
    log_in_lines()
    allow_open_files()
    allocator.keep_freed_memory()
    return compile_cache.keep_compiled_programs()


def log_in_lines() -> None:
    """Has what is logged shown in lines; of other packages warnings alone, Orbax writes dozens for a checkpoint."""
    absl.logging.use_absl_handler()
    handler = absl.logging.get_absl_handler()
    handler.setFormatter(Formatter("%(levelname)s: %(message)s"))
    handler.addFilter(_worth_showing)


def _worth_showing(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.pathname.startswith(_PACKAGE)

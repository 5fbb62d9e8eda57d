"""JAX's cache of compiled programs, which the commands keep between calls."""

import tempfile
from pathlib import Path

import filelock
import jax
from absl import logging

from ddim_jax.runtime.cache_folder import cache_folder, check_private, make_private, processor_digest

_LEAST_SECONDS = 0.1
"""Programs that compile faster are not kept: reading them back is hardly faster."""
_MOST_BYTES = 2**30
"""JAX removes the programs used longest ago beyond this."""


def keep_compiled_programs() -> Path | None:
    """Makes this process look for compiled programs on disk and leave its own there; for commands, called once.

    The folder is one for each kind of processor in the user's cache folder: on a home directory that several machines
    share, a program compiled for another processor would be read back and could stop with an illegal instruction. Where
    JAX_COMPILATION_CACHE_DIR is set, it is ddim_jax below that. JAX_ENABLE_COMPILATION_CACHE=0 turns the cache off.

    Returns:
      The folder; None where there is none, because it was turned off or cannot be written to (which is logged), and
      where JAX_COMPILATION_CACHE_DIR is remote storage, which is left to JAX alone.

    Raises:
      InputError: others may write to the folder (`check_private`): whoever can runs code in this process.
    """
    if not jax.config.jax_enable_compilation_cache:
        return None
    own = jax.config.jax_compilation_cache_dir
    if own and "://" in own:
        return None
    try:
        if own:
            folder = Path(own, "ddim_jax", processor_digest())
            check_private(own)
        else:
            folder = cache_folder(f"programs-{processor_digest()}")
            jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
        make_private(folder)
        check_private(folder.parent)
        check_private(folder)
        with tempfile.TemporaryFile(dir=folder):  # JAX would warn for every program
            pass
        _remove_halves(folder)
    except OSError as error:
        logging.warning("compiled programs are not kept between calls: %s", error)
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _MOST_BYTES)  # with a lock, so that processes can share it
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")  # outside of that size
    return folder


def _remove_halves(folder: Path) -> None:
    """Removes programs that JAX was killed, or found the disk full, while writing: it would keep no other beside them.

    JAX writes NAME-cache and then NAME-atime, under a lock of this name.
    """
    try:
        with filelock.FileLock(folder / ".lockfile", timeout=10):
            for program in folder.glob("*-cache"):
                if not program.with_name(program.name.removesuffix("-cache") + "-atime").exists():
                    program.unlink()
    except filelock.Timeout:  # another process is writing one
        logging.warning("%s: locked by another process; programs written in part stay for now", folder)

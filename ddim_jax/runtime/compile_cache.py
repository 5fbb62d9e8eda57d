"""Compiled programs kept on disk between calls of the commands, by JAX's own persistent cache."""

from pathlib import Path

import jax
from absl import logging

from ddim_jax.runtime.cache_folder import cache_folder, make_private, processor_digest

_LEAST_SECONDS = 0.1
"""Programs that compile faster are not kept: reading them back is hardly faster."""
_MOST_BYTES = 2 * 1024**3
"""The programs used longest ago are removed beyond this."""


def keep_compiled_programs() -> Path | None:
    """Makes this process look for compiled programs on disk and leave its own there; for commands, called once.

    The folder is the one in JAX_COMPILATION_CACHE_DIR where that is set; else one for each kind of processor in the
    user's cache folder: on a home directory that several machines share, a program compiled for another processor would
    be read back and could stop with an illegal instruction. JAX_ENABLE_COMPILATION_CACHE=0 turns the cache off. Whoever
    can write to the folder can run code in this process; one that is made here belongs to the user alone.

    Returns:
      The folder; None where there is none, because it was turned off or cannot be made (which is logged), and where it
      is of remote storage, which JAX alone writes to.
    """
    if not jax.config.jax_enable_compilation_cache:
        return None
    if jax.config.jax_compilation_cache_dir:
        own = jax.config.jax_compilation_cache_dir
        return None if "://" in own else Path(own)
    try:
        folder = cache_folder(f"xla-{processor_digest()}")
        make_private(folder)
    except (OSError, RuntimeError) as error:
        logging.warning("compiled programs are not kept between calls: %s", error)
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
    jax.config.update("jax_compilation_cache_max_size", _MOST_BYTES)
    return folder

"""Options of the C library's allocator and of JAX, for memory that a command frees and soon asks for again."""

import ctypes
import os

import jax

SAID_BY = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""Variables with which a user says what the allocator shall do."""
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # the numbers of malloc.h


def keep_freed_memory() -> bool:
    """Has glibc keep what is freed, instead of giving it back to the system; for commands, before JAX has devices.

    XLA frees a program's temporary memory when the program ends. A block of more than 32 MiB goes back to the system at
    once (mallopt(3)), and the next call of the same program has every page of it made anew, filled with zeros: on a CPU
    a good part of the time of a training step (docs/results/allocator.json). Kept, the process holds to its
    end what its largest program took.

    glibc keeps blocks above 64 MiB for the main thread alone. So programs for CPUs run on the thread that calls them,
    which waits for them; JAX would hand them to threads of its own.

    Changes nothing where one of the variables above says what the allocator shall do, or the C library is another.

    Returns:
      True if the library accepted it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None or any(name in os.environ for name in SAID_BY):
        return False
    # Not a threshold for mmap: older versions of glibc allow none above 32 MiB.
    accepted = bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, -1))
    if accepted:
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    return accepted

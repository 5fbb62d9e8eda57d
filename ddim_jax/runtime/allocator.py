"""An option of the C library's allocator, for memory that a command frees and soon asks for again."""

import ctypes
import os

SAID_BY = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
"""Variables with which a user says what the allocator shall do."""
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # the numbers of malloc.h


def keep_freed_memory() -> bool:
    """Has glibc keep what the main thread frees, instead of giving it back to the system; for commands, called once.

    XLA frees a program's temporary memory when the program ends. A block of more than 32 MiB goes back to the system at
    once (mallopt(3)), and the next call of the same program has every page of it made anew, filled with zeros: on a CPU
    a good part of the time of a training step (docs/results/allocator.json). Kept, the process holds to its
    end what its largest program took. Where other threads allocate, blocks above 64 MiB still go back.

    Changes nothing where one of the variables above says what the allocator shall do, or the C library is another.

    Returns:
      True if the library accepted it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None or any(name in os.environ for name in SAID_BY):
        return False
    # Not a threshold for mmap: older versions of glibc allow none above 32 MiB.
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, -1))

"""A last word where the runtime ends the process from C++.

When the process that coordinates a run is lost, the runtime of every other one calls abort() from a thread of its own:
no Python exception, no `atexit`. All that is left is the signal of abort() itself.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from ddim_jax.runtime.errors import TRY_AGAIN

_handlers = []  # the C library keeps only the addresses; the objects have to live as long as the process


def end(text: str, status: int) -> NoReturn:
    """Says `error: text` on stderr and ends the process at once, without waiting for threads, devices or peers."""
    with contextlib.suppress(OSError, ValueError):  # stderr may be gone
        print(f"error: {text}", file=sys.stderr, flush=True)
    os._exit(status)


def say_on_abort(text: Callable[[], str], status: int = TRY_AGAIN) -> Callable[[], None]:
    """Makes abort() say `text()` and exit with `status`, not dump a core and the stacks of all threads.

    Python's own `signal.signal` does not do: abort() raises the signal and ends the process before an interpreter that
    only noted it gets a turn. Registered with the C library, the handler runs in the thread that aborts.

    Returns:
      What takes it back, and makes abort() do what it did before.
    """

    def aborted(number: int) -> None:
        end(text(), status)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(aborted)
    library = ctypes.CDLL(None)
    library.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    library.signal.restype = ctypes.c_void_p
    before = library.signal(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))
    _handlers.append(handler)
    return lambda: library.signal(signal.SIGABRT, before)

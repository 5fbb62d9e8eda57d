"""Resident memory of a process, as Linux counts it."""

import ctypes
import gc
import statistics
import threading
import time
from pathlib import Path
from typing import Any


def resident_bytes() -> int:
    """Bytes that are resident now."""
    return _status("VmRSS")


def reset_high_water() -> None:
    """Starts the high-water mark anew, once what is free has gone back to the system.

    A compiler leaves hundreds of MB behind that are free but, to the system, still this process's.
    """
    gc.collect()
    _give_back()
    Path("/proc/self/clear_refs").write_text("5")


def high_water_bytes(process: int | None = None) -> int:
    """The most that was resident at once since `reset_high_water`; of another process, since it started its program.

    0 for another process that has ended and was not waited for, and where the system does not tell.
    """
    return _status("VmHWM", process)


class Held:
    """Resident memory of this process while the block runs, each time after what is free was given back.

    Without that, the number is what malloc keeps for another time, which goes up and down by tens of MB. What was given
    back has to be made anew, so each look costs some milliseconds.

    Args:
      every: seconds from one look to the next.
    """

    def __init__(self, every: float = 5.0):
        self._every = every
        self._looks: list[tuple[float, int]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Held":
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ended.set()
        self._thread.join()
        self._look()

    def at_the_end(self) -> int:
        """Bytes: the median of the looks in the last fifth of the time, of which one is when the block ended."""
        end = self._looks[-1][0]
        return int(statistics.median(held for when, held in self._looks if when >= 0.8 * end))

    def _watch(self) -> None:
        while not self._ended.wait(self._every):
            self._look()

    def _look(self) -> None:
        _give_back()
        self._looks.append((time.monotonic() - self._began, resident_bytes()))


def _give_back() -> None:
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def _status(field: str, process: int | None = None) -> int:
    for line in Path(f"/proc/{process or 'self'}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    if process:  # it is a zombie now, or the system has no such field
        return 0
    raise RuntimeError(f"this system does not tell {field}; the benchmark measures memory on Linux alone")

"""Resident memory of this process, as Linux counts it."""

import ctypes
import gc
from pathlib import Path


def resident_bytes() -> int:
    """What is resident now."""
    return _status("VmRSS")


def reset_high_water() -> None:
    """Starts the high-water mark anew, once what is free has gone back to the system.

    A compiler leaves hundreds of MB behind that are free but, to the system, still this process's.
    """
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def high_water_bytes() -> int:
    """The most that was resident at once since `reset_high_water`."""
    return _status("VmHWM")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"this system does not tell {field}; the benchmark measures memory on Linux alone")

"""A disk small enough to be filled."""

import os
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.faults.programs import FaultRunFailed

SIZE = 16 * 2**20
HOW = "a tmpfs of 16 MiB, filled up by a file beside what the program writes"
_BALLAST = "ballast"


class SmallDisk:
    """A tmpfs at `folder`, which is made; a context manager.

    Raises:
      FaultRunFailed: it cannot be mounted.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self) -> "SmallDisk":
        self.folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise FaultRunFailed(
                f"no small file system can be mounted ({done.stderr.strip()}); this part needs root, or the command "
                "below `unshare --user --map-root-user --mount`"
            )
        return self

    def __exit__(self, *_: Any) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def free(self) -> int:
        """Bytes that can still be written."""
        about = os.statvfs(self.folder)
        return about.f_bavail * about.f_frsize

    def fill(self, leave: int) -> None:
        """Leaves `leave` bytes, rounded to whole pages."""
        (self.folder / _BALLAST).write_bytes(bytes(max(0, self.free() - leave)))

    def make_room(self) -> None:
        """Takes away what `fill` wrote."""
        (self.folder / _BALLAST).unlink()

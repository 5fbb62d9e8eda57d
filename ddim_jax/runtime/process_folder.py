"""A folder of one process, which it removes at its end; what a killed one has left, the next process removes."""

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.locks import try_lock

_LOCK = ".lock"


class ProcessFolder:
    """A private folder, locked while its process lives; a context that gives its path and removes it at the end.

    Folders beside it of the same prefix are removed first where their process is gone: those of this user, private,
    with a lock that nobody holds. Where the file system has no locks nobody can tell who lives, and they stay.

    Args:
      prefix: of its name; of this package alone.
      parent: the folder it lies in; None for the system's folder for temporary files.

    Attributes:
      path: of the folder.

    Raises:
      OSError: it cannot be made.
    """

    def __init__(self, prefix: str, parent: Path | None = None):
        parent = Path(tempfile.gettempdir()) if parent is None else parent
        for left in parent.glob(f"{prefix}*"):
            _remove_left(left)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        locking = self.path / f"{_LOCK}ing"  # found under its name when it is locked, not before
        self._lock = open(locking, "wb")  # noqa: SIM115, held as long as the process lives
        try_lock(self._lock, required=False)
        os.replace(locking, self.path / _LOCK)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Removes the folder."""
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)


def _remove_left(folder: Path) -> None:
    # Where others write too, such as /tmp, a link or a FIFO may have any name.
    with contextlib.suppress(OSError, InputError):
        about = folder.lstat()
        is_ours = not hasattr(os, "geteuid") or (about.st_uid == os.geteuid() and not about.st_mode & 0o077)
        if not (stat.S_ISDIR(about.st_mode) and is_ours and stat.S_ISREG((folder / _LOCK).lstat().st_mode)):
            return
        with open(folder / _LOCK, "r+b") as file:
            if try_lock(file):
                shutil.rmtree(folder, ignore_errors=True)

"""Locks between processes, also of several machines where the file system passes them on (NFS 4, Lustre, GPFS).

A lock belongs to an open file, and the system takes it back when the process ends, however it ends: a killed process
leaves none behind. Some file systems grant locks to each host by itself: `ddim_jax.runtime.mounts` knows them.
"""

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import filelock
from absl import logging

from ddim_jax.runtime.errors import InputError, InUseError
from ddim_jax.runtime.printable import printable

PATIENCE_SECONDS = 600
"""Limit on the wait for a lock, which is held while an index is merged: seconds, with millions of lines a minute."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


def try_lock(file: IO, *, required: bool = True) -> bool:
    """Takes the exclusive lock of a file that is open for writing; the file keeps it until it is closed.

    Args:
      file: of the file system.
      required: if False, a file system without locks is taken for one where nobody else is.

    Returns:
      False if somebody else, in this process or another, holds it.

    Raises:
      InputError: the file system has no locks, and one is required.
    """
    try:
        return filelock.lock_descriptor(file.fileno(), blocking=False)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        if required:
            raise InputError(
                f"{file.name}: the file system has no locks ({error.strerror}), so several processes cannot share the "
                "folder; use a folder on another file system, or one process"
            ) from error
    return True


@contextlib.contextmanager
def locked(path: str | os.PathLike, *, required: bool = True) -> Iterator[None]:
    """Holds the lock of a file, made if it is not there, while the block runs.

    Waits for whoever holds it, says for whom after a second, and gives up after `PATIENCE_SECONDS`.

    Raises:
      InputError: the file system has no locks, and one is `required`.
      InUseError: it was held for too long.
    """
    with open(path, "ab") as file:
        began, told = time.monotonic(), False
        while not try_lock(file, required=required):
            waited = time.monotonic() - began
            if waited > PATIENCE_SECONDS:
                raise InUseError(
                    f"{path}: held by {holder(path)} for more than {PATIENCE_SECONDS} s. Wait until it ends, or end "
                    "it, and start the same command again"
                )
            if waited > 1 and not told:
                logging.warning("%s is held by %s; waiting for it", path, holder(path))
                told = True
            time.sleep(0.05)
        yield


def holder(path: str | os.PathLike) -> str:
    """The process of this machine that holds the lock of a file, in words, as far as the system tells."""
    unknown = "another process, perhaps of another machine"
    try:
        inode = os.stat(path).st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if "->" not in fields and fields[5].rpartition(":")[2] == str(inode) and int(fields[4]) > 0:
                command = Path(f"/proc/{fields[4]}/cmdline").read_bytes().split(b"\0")
                return f"process {fields[4]} ({printable(os.fsdecode(b' '.join(command[:3]).strip()))})"
    except (IndexError, OSError, ValueError):
        pass  # not Linux, gone meanwhile, or of another user
    return unknown

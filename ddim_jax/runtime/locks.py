"""Locks between processes, also of several machines where the file system passes them on (NFS 4, Lustre, GPFS).

A lock belongs to an open file, and the system takes it back when the process ends, however it ends: a killed process
leaves none behind. Some file systems, such as most of FUSE, grant locks to each host by itself.
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

_LOOK_EVERY = 0.05  # seconds, as all of these
_TOLD_AFTER = 3.0
_LONGEST_WAIT = 600.0
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
    """Holds the lock of a file, made if it is not there, while the block runs; waits for whoever holds it before.

    A wait of some seconds is told, with the process that is waited for.

    Raises:
      InputError: the file system has no locks, and one is `required`.
      InUseError: it is still held after `_LONGEST_WAIT`.
    """
    with open(path, "ab") as file:
        began, told = time.monotonic(), False
        while not try_lock(file, required=required):
            waited = time.monotonic() - began
            if waited > _LONGEST_WAIT:
                raise InUseError(
                    f"{path}: {holder(path)} has held this lock for {waited:.0f} s; let it end, or end it, and start "
                    "the same command again"
                )
            if waited > _TOLD_AFTER and not told:
                told = True
                logging.warning("waiting for %s, which %s holds", path, holder(path))
            time.sleep(_LOOK_EVERY)
        yield


def holder(path: str | os.PathLike) -> str:
    """The process of this machine that holds the lock of a file, in words, as far as the system tells."""
    try:
        inode = os.stat(path).st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if "->" not in fields and fields[5].rpartition(":")[2] == str(inode) and int(fields[4]) > 0:
                command = Path(f"/proc/{fields[4]}/cmdline").read_bytes().split(b"\0")
                return f"process {fields[4]} ({printable(os.fsdecode(b' '.join(command[:3]).strip()))})"
    except (IndexError, OSError, ValueError):
        pass  # not Linux, gone meanwhile, or of another user
    return "another process, perhaps of another machine,"

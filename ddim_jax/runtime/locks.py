"""Locks between processes, also of several machines where the file system passes them on (NFS 4, Lustre, GPFS).

A lock belongs to an open file, and the system takes it back when the process ends, however it ends: a killed process
leaves none behind. Some file systems grant locks to each host by itself: `ddim_jax.runtime.mounts` knows them.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import IO

import filelock

from ddim_jax.runtime.errors import InputError

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


def try_lock(file: IO, *, required: bool = True, wait: bool = False) -> bool:
    """Takes the exclusive lock of a file that is open for writing; the file keeps it until it is closed.

    Args:
      file: of the file system.
      required: if False, a file system without locks is taken for one where nobody else is.
      wait: for whoever holds it.

    Returns:
      False if somebody else, in this process or another, holds it.

    Raises:
      InputError: the file system has no locks, and one is required.
    """
    try:
        return filelock.lock_descriptor(file.fileno(), blocking=wait)
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

    Raises:
      InputError: the file system has no locks, and one is `required`.
    """
    with open(path, "ab") as file:
        try_lock(file, required=required, wait=True)
        yield

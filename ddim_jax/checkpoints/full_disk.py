"""Room for a checkpoint, and the refusals of a disk that is full or away."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ddim_jax.runtime.errors import InputError

_REFUSALS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ESTALE),
    errno.ENOENT,
)

_BESIDES = 2**20
"""Bytes of a checkpoint besides its arrays: names, metadata, the rest of each block."""


def check_room(folder: Path, array_bytes: int) -> None:
    """Refuses a checkpoint that will not fit, before it is begun: threads of Orbax print tracebacks on a full disk.

    Raises:
      OSError: the disk of `folder`, which need not be there yet, has no room for so many bytes of arrays and what is
        written with them; its strerror has the bytes needed and free.
    """
    needed = array_bytes + _BESIDES
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        full = os.strerror(errno.ENOSPC)
        raise OSError(errno.ENOSPC, f"{full}: a checkpoint takes {needed:,} bytes, {free:,} are free", str(folder))


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Gives a refusal of the file system in the block as an OSError with its number and `folder` for its file name.

    Orbax raises a ValueError that has the words of the system in it.
    """
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise
    except InputError:
        raise
    except Exception as error:
        number = next((number for number in _REFUSALS if os.strerror(number) in str(error)), None)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(folder)) from error

"""Orbax on a disk that is full or away: what it raises, and what it says besides."""

import asyncio
import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ddim_jax.runtime.errors import CheckpointError

_REFUSALS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ESTALE),
    errno.ENOENT,
)
_LOGS = ("absl", "asyncio")


def check_room(folder: Path, needed: int) -> None:
    """Refuses to begin what will not fit: Orbax's threads would complain long after the error.

    Raises:
      OSError: the disk of `folder`, which need not be there yet, has less than `needed` bytes to spare.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if shutil.disk_usage(there).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Gives a refusal of the file system in the block as an OSError with its number and `folder` for its file name.

    Orbax raises a ValueError that has the words of the system in it. Its other threads log the same with tracebacks,
    before it and afterwards, and asyncio logs those that nobody waited for: none of this is let through after a
    refusal, for the error says it all, until a later block ends in another way. Threads that finish when Orbax has
    closed its event loop would print tracebacks too: the loops of the block are such that take this.
    """
    policy = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(_Loops())
    for name in _LOGS:
        logging.getLogger(name).addFilter(_is_no_echo)
    refused = False
    try:
        yield
    except OSError as error:
        refused = error.errno in _REFUSALS
        error.filename = error.filename or str(folder)
        raise
    except CheckpointError:  # what is written there is not what it should be, or the folder is away
        refused = True
        raise
    except Exception as error:
        number = _refusal(error)
        if number is None:
            raise
        refused = True
        raise OSError(number, os.strerror(number), str(folder)) from error
    finally:
        asyncio.set_event_loop_policy(policy)
        if not refused:
            for name in _LOGS:
                logging.getLogger(name).removeFilter(_is_no_echo)


class _Loop(asyncio.SelectorEventLoop):
    """A loop that takes what threads tell it after it was closed, and does nothing."""

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
        try:
            return super().call_soon_threadsafe(callback, *args, context=context)
        except RuntimeError:
            if not self.is_closed():
                raise


class _Loops(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return _Loop()


def _refusal(error: BaseException | None) -> int | None:
    """The system's number for the refusal that the words of `error` tell of; None where it is something else."""
    return next((number for number in _REFUSALS if os.strerror(number) in str(error)), None)


def _is_no_echo(record: logging.LogRecord) -> bool:
    if not record.exc_info:
        return True
    # A task that asyncio tells of is Orbax's by its code or by the path that it wrote to.
    of_orbax = f"{os.sep}orbax{os.sep}" in record.pathname or "orbax" in record.getMessage()
    return not of_orbax and _refusal(record.exc_info[1]) is None

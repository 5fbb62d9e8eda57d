"""Orbax on a disk that is full: what it raises, and what it says besides."""

import contextlib
import errno
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
_LEFT_BEHIND = "Event loop is closed"


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Gives a refusal of the file system in the block as an OSError with its number and `folder` for its file name.

    Orbax raises a ValueError that has the words of the system in it. Its other threads log the same with tracebacks,
    before it and afterwards, and the writes that it gives up complain of their event loop: none of this is let through
    from here on, for the error says it all. After a block without an error everything is let through again.
    """
    log = logging.getLogger("absl")
    log.addFilter(_is_no_echo)
    before = sys.unraisablehook

    def unraisable(arguments: "sys.UnraisableHookArgs") -> None:
        if _LEFT_BEHIND not in str(arguments.exc_value):
            before(arguments)

    sys.unraisablehook = unraisable
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(folder)
        raise
    except Exception as error:
        number = next((number for number in _REFUSALS if os.strerror(number) in str(error)), None)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(folder)) from error
    sys.unraisablehook = before
    log.removeFilter(_is_no_echo)


def _is_no_echo(record: logging.LogRecord) -> bool:
    return not (record.exc_info and f"{os.sep}orbax{os.sep}" in record.pathname)

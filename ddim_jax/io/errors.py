"""Errors a user can mend, told apart from bugs.

Everything that is wrong with what the user gave (a file, a folder, a config field, a checkpoint) is an `InputError`
whose message names the thing, says what was found, what was expected and what to do. Anything else is a bug in this
package and keeps its traceback.
"""

import contextlib
import errno
import sys
from collections.abc import Iterator


class InputError(ValueError):
    """Something the user gave cannot be used; the message is written for the user."""


class DataError(InputError):
    """An image, a mask or a folder of them cannot be used."""


class ConfigError(InputError):
    """A field of the configuration has a value that cannot work; the message names the field."""


class CheckpointError(InputError):
    """A checkpoint is missing, damaged or belongs to another model; the message names the file."""


_FULL = {errno.ENOSPC, errno.EDQUOT}
_MENDABLE = {errno.EACCES, errno.EPERM, errno.EROFS, *_FULL}
"""No permission, a read-only file system, a full disk: the user's to mend, whatever was being written."""


@contextlib.contextmanager
def report_input_errors() -> Iterator[None]:
    """Turns an `InputError`, and a refusal of the file system, into `error: ...` on stderr and exit status 2.

    Used by the command-line programs alone.
    """
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in _MENDABLE:
            raise
        room = ". Make room there and start the same command again; what was finished is kept."
        told = room if error.errno in _FULL else ""
        print(f"error: {error.filename or 'writing'}: {error.strerror}{told}", file=sys.stderr)
        sys.exit(2)

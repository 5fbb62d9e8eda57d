"""Errors a user can mend, told apart from bugs.

Everything that is wrong with what the user gave (a file, a folder, a config field, a checkpoint) is an `InputError`
whose message names the thing, says what was found, what was expected and what to do. Anything else is a bug in this
package and keeps its traceback; what may be of a plug-in is named with the place.
"""

import contextlib
import errno
import sys
import traceback
from collections.abc import Callable, Iterator

from ddim_jax.runtime.printable import printable

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it: 128 and the number of the signal."""
TRY_AGAIN = 75
"""The exit status where the same command goes on later (EX_TEMPFAIL of sysexits.h): stopped early, failed elsewhere, or
held up by another process."""


class InputError(ValueError):
    """Something the user gave cannot be used; the message is written for the user.

    Each argument is a line of the message, shown as `printable` has it, whatever names are in it.
    """

    exit_status = 2

    def __str__(self) -> str:
        return "\n".join(printable(str(line)) for line in self.args)


class DataError(InputError):
    """An image, a mask or a folder of them cannot be used."""


class ConfigError(InputError):
    """A field of the configuration has a value that cannot work; the message names the field."""


class CheckpointError(InputError):
    """A checkpoint is missing, damaged or belongs to another model; the message names the file."""


class InUseError(InputError):
    """Another process is at work in the folder; once it has ended, the same command works."""

    exit_status = TRY_AGAIN


def install_command(extra: str) -> str:
    """The command that installs an extra of this package, and the place to give it: the package is on no index."""
    return f"pip install '.[{extra}]' in a checkout of ddim_jax"


_FULL = {errno.ENOSPC, errno.EDQUOT}
_MENDABLE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.EIO, *_FULL),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.ESTALE),
    *(errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EBUSY, errno.EMFILE, errno.ENFILE),
}
"""No permission, a read-only file system, a full or failing disk, a file where a folder should be or a folder where a
file should be, a name that is too long, a file that its server no longer knows, one that was removed or whose disk is
gone, too many open files: the user's to mend, whatever was being read or written."""


def is_out_of_memory(error: Exception) -> bool:
    """True for a MemoryError, of NumPy or Pillow, and for the RuntimeError of JAX: its text begins with the status."""
    return isinstance(error, MemoryError) or str(error).startswith("RESOURCE_EXHAUSTED")


@contextlib.contextmanager
def failures_of(what: Callable[[], str], kind: type[InputError] = DataError) -> Iterator[None]:
    """A block in which code that may be a plug-in's reads or writes a file or a pair.

    An `InputError`, and what is of the disk or the memory pass.

    Args:
      what: says what failed at which file or pair, as in "a.npy: the reader 'numpy' failed".
      kind: the error that is raised.

    Raises:
      kind: it fails in another way, which is the cause; the place is named. The message of the cause is left out: it
        may hold what is in the file.
    """
    try:
        yield
    except Exception as error:
        of_disk = isinstance(error, OSError) and error.errno is not None  # Pillow's own errors are without a number
        if isinstance(error, InputError) or of_disk or is_out_of_memory(error):
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{last.filename}, line {last.lineno}: {type(error).__name__}"
        raise kind(f"{what()} at {place}") from error


@contextlib.contextmanager
def report_input_errors(stopped: str | None = None, need_less: str | None = None) -> Iterator[None]:
    """Turns an `InputError`, and a refusal of the file system, into `error: ...` on stderr and exit status 2
    (an `InputError`: its own).

    With `stopped`, a line that says what is left of the work, Ctrl-C becomes that line and exit status `INTERRUPTED`.
    With `need_less`, what to change for less memory, so does a device or a host without enough of it become an error of
    that kind. A device that JAX does not find is one too. Used by the command-line programs alone.
    """
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except OSError as error:
        if error.errno not in _MENDABLE:
            raise
        room = ". Make room there and start the same command again."
        told = room if error.errno in _FULL else ""
        print(f"error: {printable(str(error.filename or 'writing'))}: {error.strerror}{told}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if str(error).startswith("Unable to initialize backend"):
            print(f"error: {str(error).splitlines()[0]}; ddim-jax doctor says more", file=sys.stderr)
            sys.exit(2)
        if need_less is None or not is_out_of_memory(error):
            raise
        told = str(error).partition("\n")[0].removeprefix("RESOURCE_EXHAUSTED: ")
        print(f"error: not enough memory ({told or type(error).__name__}). {need_less}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        if stopped is None:
            raise
        print(stopped, file=sys.stderr)
        sys.exit(INTERRUPTED)

"""Standard output and error that stop no work: closed, full, without a reader, or of another encoding than a name.

Nothing but the standard library is imported, so that a program can begin with it.
"""

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Callable, Iterator
from typing import TextIO


class _Output(io.RawIOBase):
    """Writes to a descriptor; where that fails, what was to be written is dropped and the error kept."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor
        self.error: OSError | None = None
        self.unread: Callable[[], None] | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, content: bytes | memoryview) -> int:
        """Writes all of `content`, for a text stream without a buffer does not ask how much was."""
        left = memoryview(content).cast("B")
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # another program has set the terminal or the pipe so
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.error = self.error or error
                tell, self.unread = self.unread, None  # once: who is told may write
                if error.errno == errno.EPIPE and tell is not None:
                    tell()
                break
        return len(content)


_outputs: dict[int, _Output] = {}
"""Output streams of this process, by their descriptors; none before `enduring`."""


@contextlib.contextmanager
def enduring() -> Iterator[None]:
    """Has the block's output and errors written as far as they can be; for commands, before they import what they need.

    A descriptor that was closed is opened on the null device, or the next file would get its number and with it all
    that libraries print. What cannot be encoded is written as `\\xe9`. What a full disk or a vanished reader refuses is
    lost, and at the end a line on standard error says so, unless the reader had left, as `head` does.

    The streams stay so after the block. Those that a program has put in place of Python's own are left as they are.
    """
    if _outputs:
        yield
        return
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
    if sys.stdout is sys.__stdout__:
        sys.stdout = _stream(1, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _stream(2, sys.stderr)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if lost := lost_output():
            print(f"warning: standard output: {lost}; not all that was said there was written", file=sys.stderr)
            sys.stderr.flush()


def lost_output() -> str | None:
    """The reason for which something printed was not written; None if all was, or its reader had left."""
    sys.stdout.flush()
    error = _outputs[1].error if 1 in _outputs else None
    return None if error is None or error.errno == errno.EPIPE else error.strerror


def when_unread(tell: Callable[[], None]) -> None:
    """Has `tell` called, once for each, when nobody reads standard output or standard error any more."""
    for output in _outputs.values():
        output.unread = tell


def _stream(descriptor: int, before: TextIO | None) -> TextIO:
    if before is not None:
        with contextlib.suppress(OSError, ValueError):
            before.flush()
    _outputs[descriptor] = output = _Output(descriptor)
    # Not buffered: whoever follows a log sees each line, a kill loses none, and who is told of an error may print.
    return io.TextIOWrapper(
        output, encoding=getattr(before, "encoding", None) or "utf-8", errors="backslashreplace", write_through=True
    )

"""SIGTERM, Ctrl-C and the like: a run that has done nothing yet ends at once, one that has loses nothing.

Nothing but the standard library is imported, so that a program can listen before it imports what takes seconds.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from ddim_jax.runtime.errors import INTERRUPTED, TRY_AGAIN

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_ALSO = tuple(getattr(signal, name) for name in ("SIGHUP", "SIGXCPU") if hasattr(signal, name))
"""The terminal is gone, the time of the processor is used up: those that are ignored, as by nohup, stay so."""
_UNREAD = getattr(signal, "SIGPIPE", None)
"""Never waited for: Python ignores it, and `ddim_jax.runtime.streams` tells of it."""


class StopRequest:
    """A request to stop the run, true once it came: SIGTERM (a scheduler), SIGINT (Ctrl-C), SIGHUP or SIGXCPU.

    Attributes:
      signal_name: of the signal that came to this process; None before.
      ended_by: of the signal that ended the run before its last step, to whichever of its processes it came.
    """

    def __init__(self):
        self.signal_name: str | None = None
        self.ended_by: str | None = None
        self._say: Callable[[str], None] | None = None
        self._deciding = threading.RLock()
        self._listening = False

    def __bool__(self) -> bool:
        return self.signal_name is not None

    @property
    def exit_status(self) -> int:
        """Exit status of the command, 0 only where the run came to its end: a scheduler takes that for finished."""
        if self.ended_by is None:
            return 0
        return exit_status(self.ended_by)

    def leave_at_once(self, say: Callable[[str], None] | None) -> None:
        """Until this is called with None, a signal that `stop_on_signals` hears ends the process, without clean-up.

        For the time in which nothing is to be saved: Python's handlers would wait for what holds the main thread, such
        as the compiler, which takes minutes for a large network, and schedulers do not wait so long. The exit status is
        TRY_AGAIN, or INTERRUPTED after Ctrl-C.

        Args:
          say: told the name of the signal before the end, in a thread of its own.
        """
        with self._deciding:
            self._say = say

    def ask(self, signal_name: str) -> None:
        """Asks the run to stop as that signal would, whose handler is not called."""
        self.signal_name = self.signal_name or signal_name
        self._hear(signal.Signals[signal_name])

    def _hear(self, number: int) -> None:
        with self._deciding:  # by the thread that holds it too, where what it says has no reader
            if self._say is not None and number in (*_STOPPING, *_ALSO, _UNREAD):
                name = signal.Signals(number).name
                try:
                    self._say(name)
                finally:
                    os._exit(exit_status(name))


@contextlib.contextmanager
def stop_on_signals(request: StopRequest | None = None) -> Iterator[StopRequest]:
    """Notes the first signal that asks to stop in `request` instead of dying of it; a second one acts as usual.

    A block inside another with the same request changes nothing. Signal handlers exist only in the main thread;
    elsewhere the request simply never comes.
    """
    request = StopRequest() if request is None else request  # one that was not made yet counts as False
    if request._listening or threading.current_thread() is not threading.main_thread():
        yield request
        return
    heard = [*_STOPPING, *(number for number in _ALSO if signal.getsignal(number) is not signal.SIG_IGN)]
    previous = {number: signal.getsignal(number) for number in heard}

    def take_back() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def note(number, frame):
        request.signal_name = signal.Signals(number).name
        take_back()

    with _heard_at_once(request._hear):
        for number in previous:
            signal.signal(number, note)
        request._listening = True
        try:
            yield request
        finally:
            request._listening = False
            take_back()


@contextlib.contextmanager
def _heard_at_once(hear: Callable[[int], None]) -> Iterator[None]:
    """Calls `hear` with the number of each signal as it comes, whatever the main thread is doing."""
    told, told_of = socket.socketpair()
    told_of.setblocking(False)

    def watch() -> None:
        for number in iter(lambda: told.recv(1), b""):
            hear(number[0])

    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    before = signal.set_wakeup_fd(told_of.fileno())  # Python writes the numbers there
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        told_of.close()
        watcher.join()
        told.close()


@contextlib.contextmanager
def left_on_ctrl_c(last_word: str) -> Iterator[None]:
    """Ctrl-C in the block ends the process at once, with `last_word` on stderr and exit status INTERRUPTED.

    For the imports of a program: a KeyboardInterrupt in the middle of them is turned into other errors by some
    libraries, and swallowed where it comes into a callback. Where Ctrl-C is ignored, as in what a shell started in the
    background, it stays so.
    """
    with _ended_by(signal.SIGINT, signal.default_int_handler, last_word, lambda: os._exit(INTERRUPTED)):
        yield


@contextlib.contextmanager
def cleaned_up_on_sigterm(last_word: str) -> Iterator[None]:
    """SIGTERM in the block ends the program after its clean-up, with `last_word` on stderr and exit status TRY_AGAIN.

    A second one acts as usual. Where SIGTERM is heard or ignored already, and outside the main thread, nothing changes.
    """

    def end() -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.exit(TRY_AGAIN)

    with _ended_by(signal.SIGTERM, signal.SIG_DFL, last_word, end):
        yield


@contextlib.contextmanager
def _ended_by(number: signal.Signals, usual: Any, last_word: str, end: Callable[[], NoReturn]) -> Iterator[None]:
    """In the block the signal prints `last_word` and calls `end`: on the main thread, where it acts as `usual`."""
    on_main = threading.current_thread() is threading.main_thread()
    if not on_main or signal.getsignal(number) is not usual:
        yield
        return

    def leave(_, frame):
        with contextlib.suppress(OSError, ValueError):  # stderr may be gone
            print(last_word, file=sys.stderr, flush=True)
        end()

    signal.signal(number, leave)
    try:
        yield
    finally:
        signal.signal(number, usual)


def exit_status(signal_name: str) -> int:
    """Exit status of a program that a signal ended early and that goes on when it is started again."""
    return INTERRUPTED if signal_name == signal.SIGINT.name else TRY_AGAIN

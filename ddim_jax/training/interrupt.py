"""Stopping a run from outside without losing work."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

from ddim_jax.io.errors import INTERRUPTED, TRY_AGAIN


class StopRequest:
    """Whether somebody asked the run to stop: SIGTERM (a scheduler) or SIGINT (Ctrl-C).

    Attributes:
      signal_name: of the signal that came to this process; None before.
      ended_by: of the signal that ended the run before its last step, to whichever of its processes it came.
    """

    def __init__(self):
        self.signal_name: str | None = None
        self.ended_by: str | None = None

    def __bool__(self) -> bool:
        return self.signal_name is not None

    @property
    def exit_status(self) -> int:
        """Of the command: 0 only where the run came to its end, or a scheduler would take it for finished."""
        if self.ended_by is None:
            return 0
        return _status(self.ended_by)


@contextlib.contextmanager
def stop_on_signals(request: StopRequest | None = None) -> Iterator[StopRequest]:
    """Notes the first SIGTERM or SIGINT in `request` instead of dying of it; a second one acts as usual.

    Signal handlers exist only in the main thread; elsewhere the request simply never comes.
    """
    request = StopRequest() if request is None else request  # one that was not made yet counts as False
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number, frame):
        request.signal_name = signal.Signals(number).name
        for other, handler in previous.items():
            signal.signal(other, handler)

    for number in previous:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def leave_at_once(say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Until the function that it gives is called, SIGTERM and Ctrl-C end the process at once, without clean-up.

    For the time in which the first step is compiled, when nothing is to be saved: Python's handlers would wait for the
    compiler, which takes minutes for a large network, and schedulers do not wait so long. Inside `stop_on_signals`,
    which has the word afterwards.

    Args:
      say: told the name of the signal before the end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    told, told_of = socket.socketpair()
    told_of.setblocking(False)
    over = threading.Event()
    deciding = threading.Lock()

    def watch() -> None:
        for number in iter(lambda: told.recv(1), b""):
            with deciding:
                if not over.is_set() and number[0] in (signal.SIGTERM, signal.SIGINT):
                    name = signal.Signals(number[0]).name
                    say(name)
                    os._exit(_status(name))

    def finish() -> None:
        with deciding:
            over.set()

    watcher = threading.Thread(target=watch, name="first step", daemon=True)
    watcher.start()
    # Python writes the number of a signal there as it comes, whatever the main thread is doing.
    before = signal.set_wakeup_fd(told_of.fileno())
    try:
        yield finish
    finally:
        finish()
        signal.set_wakeup_fd(before)
        told_of.close()
        watcher.join()
        told.close()


def _status(signal_name: str) -> int:
    return INTERRUPTED if signal_name == signal.SIGINT.name else TRY_AGAIN

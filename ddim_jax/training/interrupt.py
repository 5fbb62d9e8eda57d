"""Stopping a run from outside without losing work."""

import contextlib
import signal
import threading
from collections.abc import Iterator

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
        return INTERRUPTED if self.ended_by == signal.SIGINT.name else TRY_AGAIN


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

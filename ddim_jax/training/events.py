"""The files that TensorBoard reads, written by the thread that reports.

The writer of tensorboardX hands events to a thread of its own. Where the disk is full that thread ends, and the run
waits for ever to hand over the eleventh event after it. Only its file format is used here: an event that cannot be
written is an error at once.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ddim_jax.runtime.atomic import errors_naming


@contextlib.contextmanager
def _hidden(name: str) -> Iterator[None]:
    """In the block a module that nobody has imported so far cannot be imported."""
    is_new = sys.modules.setdefault(name, None) is None
    try:
        yield
    finally:
        if is_new:
            del sys.modules[name]


# tensorboardX imports PyTorch where it is installed, for methods that are not used here; without it a program that
# trains starts in half the time.
with _hidden("torch"):
    from tensorboardX import summary
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog

_FLUSH_SECONDS = 120.0


class EventFile:
    """One event file in `folder`, which is made if it is not there.

    Args:
      folder: of this run and of those that it resumes.
      purge_step: TensorBoard hides what earlier files hold of this step and later ones.

    Raises (all methods):
      OSError: it cannot be written, for instance because the disk is full; `folder` is its file name.
    """

    def __init__(self, folder: Path, *, purge_step: int):
        self._folder = folder
        with errors_naming(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = EventsWriter(str(folder / "events"))
        self._add(Event(step=purge_step, file_version="brain.Event:2"))
        self._add(Event(step=purge_step, session_log=SessionLog(status=SessionLog.START)))
        self.flush()

    def scalar(self, name: str, value: float, step: int) -> None:
        """One number."""
        self._add(Event(step=step, summary=summary.scalar(name, value)))
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """uint8 [H, W, 3]."""
        self._add(Event(step=step, summary=summary.image(name, picture, dataformats="HWC")))

    def flush(self) -> None:
        """Hands everything to the disk; done every two minutes without being asked."""
        with errors_naming(self._folder):
            self._file.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Flushes and closes the file."""
        with errors_naming(self._folder):
            self._file.close()

    def _add(self, event: Event) -> None:
        event.wall_time = time.time()
        with errors_naming(self._folder):
            self._file.write_event(event)

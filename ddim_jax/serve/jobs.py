"""Uploads on their way and their results: one thread segments, what waits and what is kept is bounded.

An upload is known by a number that nobody can guess, and there is no list of them: whoever sent it alone finds it.
"""

import secrets
import shutil
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from absl import logging

from ddim_jax.runtime.process_folder import ProcessFolder
from ddim_jax.serve.limits import Limits
from ddim_jax.serve.refusals import Refusal, refusal_of

GONE = "It was removed."
_SECONDS_TO_LOOK = 60.0
FULL = "The queue is full; try again in a few seconds."


class Upload:
    """One upload, from its first byte until its result is removed.

    Attributes:
      id: unguessable.
      folder: private, with the uploaded files in `folder / "in"`.
      status: receiving, waiting, running, done or failed.
      done, of: slices segmented, and how many there are; 0 while that is not known.
      refusal: why it failed.
      body: the result as JSON has it.
      files: the artefacts of the result by their name.
      source: the files whose slices may be shown again, with another window; empty where they cannot.
      ended: `time.monotonic` of the end.
      bytes: that are expected, or as of the last `measure`.
    """

    def __init__(self, root: Path, expected: int = 0):
        self.id = secrets.token_urlsafe(24)
        self.folder = Path(tempfile.mkdtemp(dir=root))
        (self.folder / "in").mkdir()
        self.status, self.done, self.of = "receiving", 0, 0
        self.refusal: Refusal | None = None
        self.body: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.source: Sequence[Path] = ()
        self.ended = 0.0
        self.bytes = expected
        self.removed = False

    def measure(self) -> None:
        """Counts the bytes that it takes in memory and on disk."""
        on_disk = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        self.bytes = on_disk + sum(map(len, self.files.values()))

    def advance(self, of: int) -> None:
        """Counts one more slice as done.

        Raises:
          Refusal: the upload was removed meanwhile.
        """
        self.done, self.of = self.done + 1, of
        self.check()

    def check(self) -> None:
        """Ends the work on it, by an error as `advance`, if it was removed meanwhile."""
        if self.removed:
            raise Refusal(410, GONE)


class Jobs:
    """The uploads of one server; a context that removes all files of it at the end."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._uploads: dict[str, Upload] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="segmenting")
        self._root = ProcessFolder("ddim-jax-serve-")

    def __enter__(self) -> "Jobs":
        return self

    def __exit__(self, *error: Any) -> None:
        with self._lock:
            for upload in self._uploads.values():
                upload.removed = True
        self._pool.shutdown(cancel_futures=True)
        self._root.close()

    def create(self, expected: int = 0) -> Upload:
        """An upload that is about to be received, of that many bytes at most.

        Raises:
          Refusal: there are too many already, or they take too much room.
        """
        self.sweep()
        with self._lock:
            if self._count("receiving") >= self.limits.receiving:
                raise Refusal(503, FULL, {"Retry-After": "5"})
            self._check_room(expected)
            upload = Upload(self._root.path, expected)
            self._uploads[upload.id] = upload
            return upload

    def submit(self, upload: Upload, work: Callable[[Upload], None]) -> Future[None]:
        """Has a received upload segmented by `work`, which sets its `body` and `files`.

        Raises:
          Refusal: as `create`.
        """
        upload.measure()
        with self._lock:
            self._check_room(upload.bytes, upload)
            upload.status = "waiting"
        return self._pool.submit(self._run, upload, work)

    def _check_room(self, expected: int, own: Upload | None = None) -> None:
        others = [one for one in self._uploads.values() if not one.ended and one is not own]
        is_full = self._count("waiting", "running") >= self.limits.waiting
        if is_full or (others and sum(one.bytes for one in others) + expected > self.limits.kept_bytes // 2):
            raise Refusal(503, FULL, {"Retry-After": "5"})

    def _count(self, *status: str) -> int:
        return sum(1 for one in self._uploads.values() if one.status in status)

    def first(self, work: Callable[[], None]) -> Future[None]:
        """Has something done before all jobs."""
        return self._pool.submit(work)

    def get(self, name: str) -> Upload:
        """The upload of that number.

        Raises:
          Refusal: there is none, or none any more.
        """
        self.sweep()
        upload = self._uploads.get(name)
        if upload is None:
            raise Refusal(404, "There is no such result; results are removed after a while, or for want of room.")
        return upload

    def remove(self, upload: Upload) -> None:
        """Removes an upload and all that is of it; one that is being segmented ends at its next slice."""
        with self._lock:
            self._remove(upload)

    def before(self, upload: Upload) -> int:
        """The number of jobs that are segmented before it."""
        waiting = [one for one in list(self._uploads.values()) if one.status in ("waiting", "running")]
        return waiting.index(upload) if upload in waiting else 0

    def unfinished(self) -> int:
        """The number of jobs that have no result yet."""
        return sum(1 for upload in list(self._uploads.values()) if not upload.ended)

    def sweep(self) -> None:
        """Removes results that are too old and, while all take too much room, the oldest.

        Of the last minute only as many go as the room for everything takes, and never the last: somebody is about to
        look at them.
        """
        with self._lock:
            now = time.monotonic()
            ended = sorted((one for one in self._uploads.values() if one.ended), key=lambda one: one.ended)
            results, everything = (sum(one.bytes for one in part) for part in (ended, self._uploads.values()))
            for upload in ended:
                age = now - upload.ended
                crowded = everything > self.limits.kept_bytes or (
                    results > self.limits.kept_bytes // 2 and age > _SECONDS_TO_LOOK
                )
                if age > self.limits.kept_seconds or (crowded and upload is not ended[-1]):
                    results, everything = results - upload.bytes, everything - upload.bytes
                    self._remove(upload)

    def _remove(self, upload: Upload) -> None:
        upload.removed = True
        self._uploads.pop(upload.id, None)
        upload.files, upload.body = {}, {}
        shutil.rmtree(upload.folder, ignore_errors=True)

    def _run(self, upload: Upload, work: Callable[[Upload], None]) -> None:
        if upload.removed:
            return
        upload.status = "running"
        try:
            work(upload)
            upload.status = "done"
        except Exception as error:
            upload.status, upload.files = "failed", {}
            # Of an upload that was removed, the files went while it was segmented.
            upload.refusal = Refusal(410, GONE) if upload.removed else refusal_of(error, upload.folder) or fault(error)
        upload.measure()
        upload.ended = time.monotonic()
        if upload.removed:
            self.remove(upload)
        self.sweep()


def fault(error: BaseException) -> Refusal:
    """Logs a fault of the program by its kind and place alone, for its message may hold what is in a file."""
    places = [f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)]
    logging.error("a fault of the program: %s at %s", type(error).__name__, ", ".join(places[-4:]))
    return Refusal(500, "The program has a fault; the log of the server has its place.")

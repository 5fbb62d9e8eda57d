"""Uploads on their way and their results: one thread segments, what waits and what is kept is bounded.

Clients, which are told apart by their addresses, take turns: of those with uploads that wait, the one whose last upload
was begun longest ago is next.

An upload is known by a number that nobody can guess, and there is no list of them: whoever sent it alone finds it.
"""

import secrets
import shutil
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from absl import logging

from ddim_jax.imageio.writers import WriterError
from ddim_jax.runtime.process_folder import ProcessFolder
from ddim_jax.serve.limits import Limits
from ddim_jax.serve.refusals import Refusal, refusal_of

GONE = "It was removed."
_SECONDS_TO_LOOK = 60.0
_CLIENTS = 1000  # whose last turns are known
FULL = "The queue is full; try again in a few seconds."


class Upload:
    """One upload, from its first byte until its result is removed.

    Attributes:
      id: unguessable.
      folder: private, with the uploaded files in `folder / "in"`.
      status: receiving, waiting, running, done or failed.
      done, of: slices segmented, by each checkpoint, and how many that will be; 0 while that is not known.
      refusal: why it failed.
      body: the result as JSON has it.
      files: the artefacts of the result by their name.
      source: the files whose slices may be shown again, with another window; empty where they cannot.
      ended: `time.monotonic` of the end.
      bytes: that are expected, or as of the last `measure`.
      client: the address that it comes from.
      work: that segments it.
      ending: done when that has ended, cancelled if it never began.
    """

    def __init__(self, root: Path, expected: int = 0, client: str = ""):
        self.id = secrets.token_urlsafe(24)
        self.folder = Path(tempfile.mkdtemp(dir=root))
        (self.folder / "in").mkdir()
        self.status, self.done, self.of = "receiving", 0, 0
        self.refusal: Refusal | None = None
        self.body: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.source: Sequence[Path] = ()
        self.ended = 0.0
        self.bytes, self.client = expected, client
        self.work: Callable[[Upload], None] | None = None
        self.ending: Future[None] = Future()
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
        self._served: list[str] = []  # clients by their last turns, the latest at the end
        self._root = ProcessFolder("ddim-jax-serve-")

    def __enter__(self) -> "Jobs":
        return self

    def __exit__(self, *error: Any) -> None:
        with self._lock:
            for upload in self._uploads.values():
                upload.removed = True
                upload.ending.cancel()
        self._pool.shutdown(cancel_futures=True)
        self._root.close()

    def create(self, expected: int = 0, client: str = "") -> Upload:
        """An upload that is about to be received from a client, of that many bytes at most.

        Raises:
          Refusal: there are too many already, or they take too much room.
        """
        self.sweep()
        upload = Upload(self._root.path, expected, client)
        with self._lock:
            receiving = sum(one.status == "receiving" for one in self._uploads.values())
            if receiving >= self.limits.receiving or not self._has_room(upload):
                shutil.rmtree(upload.folder)
                raise Refusal(503, FULL, {"Retry-After": "5"})
            self._uploads[upload.id] = upload
            return upload

    def submit(self, upload: Upload, work: Callable[[Upload], None]) -> Future[None]:
        """Has a received upload segmented by `work`, which sets its `body` and `files`.

        Raises:
          Refusal: as `create`.
        """
        upload.measure()
        with self._lock:
            if not self._has_room(upload):
                raise Refusal(503, FULL, {"Retry-After": "5"})
            upload.status, upload.work = "waiting", work
            self._uploads[upload.id] = self._uploads.pop(upload.id)  # behind those that were received before
        self._pool.submit(self._run_next)
        return upload.ending

    def _has_room(self, upload: Upload) -> bool:
        others = [one for one in self._uploads.values() if not one.ended and one is not upload]
        if not others:
            return True  # one alone may be larger
        if sum(one.status in ("waiting", "running") for one in others) >= self.limits.waiting:
            return False
        return sum(one.bytes for one in others) + upload.bytes <= self.limits.kept_bytes // 2

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
        """The number of jobs that are segmented before it if no others come."""
        with self._lock:
            running = sum(1 for one in self._uploads.values() if one.status == "running")
            waiting = self._waiting()
        return running + waiting.index(upload) if upload in waiting else 0

    def _waiting(self) -> list[Upload]:
        """The uploads that wait, in the order in which they are segmented if no others come."""
        rounds: Counter[str] = Counter()
        turns = []
        for upload in self._uploads.values():
            if upload.status == "waiting":
                rounds[upload.client] += 1
                turns.append((rounds[upload.client], self._turn(upload.client), upload))
        return [upload for *_, upload in sorted(turns, key=lambda turn: turn[:2])]

    def _turn(self, client: str) -> int:
        return self._served.index(client) if client in self._served else -1

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
        if upload.status == "waiting":
            upload.ending.cancel()
        self._uploads.pop(upload.id, None)
        upload.files, upload.body = {}, {}
        shutil.rmtree(upload.folder, ignore_errors=True)

    def _run_next(self) -> None:
        """Segments the upload whose turn it is, if there is one: some may be removed while they wait."""
        with self._lock:
            upload = next(iter(self._waiting()), None)
            if upload is None:
                return
            upload.status = "running"
            upload.ending.set_running_or_notify_cancel()
            self._served = [*(one for one in self._served if one != upload.client), upload.client][-_CLIENTS:]
        try:
            self._run(upload)
        finally:
            upload.ending.set_result(None)

    def _run(self, upload: Upload) -> None:
        try:
            upload.work(upload)
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
    if isinstance(error, WriterError) and error.__cause__:
        error = error.__cause__
    places = [f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)]
    logging.error("a fault of the program: %s at %s", type(error).__name__, ", ".join(places[-4:]))
    return Refusal(500, "The program has a fault; the log of the server has its place.")

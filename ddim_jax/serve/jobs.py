"""Uploads on their way and their results: one thread segments, what waits and what is kept is bounded.

A job is known by a number that nobody can guess, and there is no list of them: whoever sent it alone finds it.
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
FULL = "The queue is full; try again in a few seconds."


class Job:
    """One upload.

    Attributes:
      id: unguessable.
      folder: private, with the uploaded files in `folder / "in"`.
      status: receiving, waiting, running, done or failed.
      done, of: slices segmented, and how many there are; 0 while that is not known.
      refusal: why it failed.
      body: the result as JSON has it.
      files: the artefacts of the result by their name.
      places: file and number of each slice that may be shown again, with another window.
      ended: `time.monotonic` of the end.
      bytes: as of the last `measure`.
    """

    def __init__(self, root: Path):
        self.id = secrets.token_urlsafe(24)
        self.folder = Path(tempfile.mkdtemp(dir=root))
        (self.folder / "in").mkdir()
        self.status, self.done, self.of = "receiving", 0, 0
        self.refusal: Refusal | None = None
        self.body: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.places: Sequence[tuple[Path, int]] = ()
        self.ended = 0.0
        self.bytes = 0
        self.removed = False

    def measure(self) -> None:
        """Counts the bytes that it takes in memory and on disk."""
        on_disk = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        self.bytes = on_disk + sum(map(len, self.files.values()))

    def advance(self, of: int) -> None:
        """Counts one more slice as done.

        Raises:
          Refusal: the job was removed meanwhile.
        """
        self.done, self.of = self.done + 1, of
        if self.removed:
            raise Refusal(410, GONE)


class Jobs:
    """The jobs of one server; a context that removes all files of it at the end."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="segmenting")
        self._root = ProcessFolder("ddim-jax-serve-")

    def __enter__(self) -> "Jobs":
        return self

    def __exit__(self, *error: Any) -> None:
        with self._lock:
            for job in self._jobs.values():
                job.removed = True
        self._pool.shutdown(cancel_futures=True)
        self._root.close()

    def create(self) -> Job:
        """A job for an upload that is about to be received.

        Raises:
          Refusal: there are too many already.
        """
        self.sweep()
        with self._lock:
            if self.unfinished() >= self.limits.waiting:
                raise Refusal(503, FULL, {"Retry-After": "5"})
            job = Job(self._root.path)
            self._jobs[job.id] = job
            return job

    def submit(self, job: Job, work: Callable[[Job], None]) -> Future[None]:
        """Has a received job segmented by `work`, which sets its `body` and `files`.

        Raises:
          Refusal: what waits takes too much room.
        """
        job.measure()
        with self._lock:
            if sum(one.bytes for one in self._jobs.values() if not one.ended) > self.limits.kept_bytes:
                raise Refusal(503, FULL, {"Retry-After": "5"})
            job.status = "waiting"
        return self._pool.submit(self._run, job, work)

    def first(self, work: Callable[[], None]) -> Future[None]:
        """Has something done before all jobs."""
        return self._pool.submit(work)

    def get(self, name: str) -> Job:
        """The job of that number.

        Raises:
          Refusal: there is none, or none any more.
        """
        self.sweep()
        job = self._jobs.get(name)
        if job is None:
            raise Refusal(404, "There is no such result; results are removed after a while.")
        return job

    def remove(self, job: Job) -> None:
        """Removes a job and all that is of it; one that is being segmented ends at its next slice."""
        with self._lock:
            self._remove(job)

    def before(self, job: Job) -> int:
        """The number of jobs that are segmented before it."""
        waiting = [one for one in list(self._jobs.values()) if one.status in ("waiting", "running")]
        return waiting.index(job) if job in waiting else 0

    def unfinished(self) -> int:
        """The number of jobs that have no result yet."""
        return sum(1 for job in list(self._jobs.values()) if not job.ended)

    def sweep(self) -> None:
        """Removes results that are too old and, while all take too much room, the oldest."""
        with self._lock:
            now = time.monotonic()
            ended = sorted((job for job in self._jobs.values() if job.ended), key=lambda job: job.ended)
            total = sum(job.bytes for job in self._jobs.values())
            for job in ended:
                if now - job.ended > self.limits.kept_seconds or total > self.limits.kept_bytes:
                    total -= job.bytes
                    self._remove(job)

    def _remove(self, job: Job) -> None:
        job.removed = True
        self._jobs.pop(job.id, None)
        job.files, job.body = {}, {}
        shutil.rmtree(job.folder, ignore_errors=True)

    def _run(self, job: Job, work: Callable[[Job], None]) -> None:
        if job.removed:
            return
        job.status = "running"
        try:
            work(job)
            job.status = "done"
        except Exception as error:
            job.status, job.files = "failed", {}
            # Of a job that was removed, the files went while it was segmented.
            job.refusal = Refusal(410, GONE) if job.removed else refusal_of(error, job.folder) or fault(error)
        job.measure()
        job.ended = time.monotonic()
        if job.removed:
            self.remove(job)
        self.sweep()


def fault(error: BaseException) -> Refusal:
    """Logs a fault of the program by its kind and place alone, for its message may hold what is in a file."""
    places = [f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)]
    logging.error("a fault of the program: %s at %s", type(error).__name__, ", ".join(places[-4:]))
    return Refusal(500, "The program has a fault; the log of the server has its place.")

"""Images from files to result files: read ahead in threads, computed on the device, written behind in threads."""

import errno
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ddim_jax.imageio.images import MAX_PIXELS, count_pixels, read_image
from ddim_jax.inference.outputs import Job, write_outputs
from ddim_jax.inference.room import Room
from ddim_jax.inference.segmentation import fuse
from ddim_jax.inference.segmenter import Segmenter
from ddim_jax.preprocessing import Prepared
from ddim_jax.runtime.errors import DataError
from ddim_jax.sampling_options import SamplingOptions

PIXELS_AT_ONCE = 2 * MAX_PIXELS
"""Of the pictures between reading and written, two of the largest that are read at all: two GiB at the 12 bytes a pixel
that decoding takes at most; writing 16-bit maps takes up to three times as much of those that are being written."""


class _Reading(NamedTuple):
    """A picture on its way from the file.

    Attributes:
      turn: its place in the order.
      sized: done when its header was read and it asked for room.
      loaded: a `_Loaded`, once it had room.
    """

    turn: int
    sized: Future
    loaded: Future


class _Loaded(NamedTuple):
    job: Job
    pixels: int
    image: np.ndarray | None
    prepared: Prepared | None
    reason: str | None
    bytes: int | None  # None, as mtime_ns: the file system does not tell
    mtime_ns: int | None
    seconds: float


class Stream:
    """Segments jobs one after the other; iterating gives an index record for each, after its files are written.

    Three things happen at once: threads read, decode and resize the next images, the device works on some, and threads
    fuse, encode and write the results of the last. At most `batch_size` images are on the device and `batch_size` + 1
    each are being read and being written, so that all three have something to do where `batch_size` is 1; nothing else
    is kept. Of large pictures there are fewer: a picture is decoded when those before it leave room for its pixels
    (`PIXELS_AT_ONCE`), and takes it until its results are written.

    Args:
      segmenter, options: what to compute.
      jobs: in the order of the records.
      output_dir: where the results go.
      kinds: gives the kinds of results to write of a job.
      changed: tells of (name, bytes, mtime_ns) of a job's file whether earlier results are of another state of it:
        where it cannot be read, these are removed.
      batch_size: images started on the device before the first result is fetched, >= 1.

    Attributes:
      waited: seconds that no image could be started because the next was not read yet; the device may have had
        earlier ones to work on, so it was idle for want of input no longer than this.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        options: SamplingOptions,
        jobs: Iterable[Job],
        output_dir: Path,
        kinds: Callable[[Job], tuple[str, ...]],
        changed: Callable[[str, int, int], bool],
        batch_size: int,
    ):
        self.waited = 0.0
        self._segmenter = segmenter
        self._options = options
        self._jobs = jobs
        self._output_dir = output_dir
        self._kinds = kinds
        self._changed = changed
        self._batch_size = batch_size
        self._device_free = 0.0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        ahead = self._batch_size + 1
        jobs, room = enumerate(self._jobs), Room(PIXELS_AT_ONCE)
        reading, running, writing = deque(), deque(), deque()
        pool = ThreadPoolExecutor(min(32, 2 * ahead), thread_name_prefix="image-files")
        try:
            while True:
                while len(reading) < ahead and (following := next(jobs, None)):
                    reading.append(self._start_reading(pool, room, *following))
                # What is under way is brought to its end first where it takes the room that the next picture needs;
                # once nothing is, there is room for any.
                if (
                    reading
                    and len(running) < self._batch_size
                    and not ((running or writing) and self._is_outside(reading[0], room))
                ):
                    running.append(self._start_device(self._taken(reading.popleft())))
                elif running and len(writing) < ahead:
                    writing.append(self._start_writing(pool, room, *running.popleft()))
                elif writing:
                    yield writing.popleft().result()
                else:
                    return
        finally:
            pool.shutdown(cancel_futures=True)

    def _start_reading(self, pool: ThreadPoolExecutor, room: Room, turn: int, job: Job) -> _Reading:
        loaded = Future()

        def look() -> None:
            try:
                pixels = count_pixels(job.source)
            except DataError:
                pixels = 0  # reading it says what is wrong
            room.ask(turn, pixels, lambda: pool.submit(load, pixels))

        def load(pixels: int) -> None:
            try:
                loaded.set_result(self._load(job, pixels))
            except BaseException as error:
                loaded.set_exception(error)

        return _Reading(turn, pool.submit(look), loaded)

    def _load(self, job: Job, pixels: int) -> _Loaded:
        began = time.monotonic()
        image, prepared, reason, size, mtime_ns = None, None, None, 0, 0
        try:
            # Taken before reading: a file that changes meanwhile is done again next time.
            stat = job.source.stat()
            size, mtime_ns = stat.st_size, stat.st_mtime_ns
            image = read_image(job.source)
            prepared = self._segmenter.prepare(image, self._options)
        except FileNotFoundError:
            reason = f"{job.source}: no longer there"
        except OSError as error:  # of this file alone: a link to itself, no permission, a handle gone stale
            reason, size, mtime_ns = f"{job.source}: cannot be read ({error.strerror})", None, None
        except DataError as error:
            reason = str(error)
        return _Loaded(job, pixels, image, prepared, reason, size, mtime_ns, time.monotonic() - began)

    def _is_outside(self, reading: _Reading, room: Room) -> bool:
        self._wait_for(reading.sized)
        return room.is_outside(reading.turn)

    def _taken(self, reading: _Reading) -> _Loaded:
        self._wait_for(reading.sized)
        return self._wait_for(reading.loaded)

    def _wait_for(self, future: Future) -> Any:
        began = time.monotonic()
        try:
            return future.result()
        finally:
            self.waited += time.monotonic() - began

    def _start_device(self, loaded: _Loaded) -> tuple[_Loaded, Any, float]:
        device = None if loaded.prepared is None else self._segmenter.start(loaded.prepared, self._options)
        return loaded, device, time.monotonic()

    def _start_writing(
        self, pool: ThreadPoolExecutor, room: Room, loaded: _Loaded, device: Any, started: float
    ) -> Future:
        samples = None if device is None else self._segmenter.fetch(device)
        now = time.monotonic()
        seconds, self._device_free = now - max(started, self._device_free), now
        # A file that is as it was may be unreadable for a while, for want of memory, and while a file server is away
        # nobody knows how it is: its results stay.
        known = loaded.mtime_ns is not None
        changed = known and self._changed(loaded.job.name, loaded.bytes, loaded.mtime_ns)
        kinds = self._kinds(loaded.job) if samples is not None or changed else ()

        def finish() -> dict[str, Any]:
            try:
                return self._finish(loaded, samples, kinds, seconds)
            finally:
                room.leave(loaded.pixels)

        return pool.submit(finish)

    def _finish(
        self, loaded: _Loaded, samples: np.ndarray | None, kinds: tuple[str, ...], device_seconds: float
    ) -> dict[str, Any]:
        job, image = loaded.job, loaded.image
        record = {
            "name": job.name,
            "file": str(job.source),
            "bytes": loaded.bytes,
            "mtime_ns": loaded.mtime_ns,
        }
        if samples is None:
            self._remove(job, kinds)
            return record | {"status": "failed", "reason": loaded.reason}
        began = time.monotonic()
        result = fuse(samples, image.shape[:2], self._options)
        try:
            write_outputs(job, self._output_dir, image, result, kinds)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            # The fault of this name alone; others can be written.
            self._remove(job, kinds)
            reason = f"{job.source}: the name of a result is too long for the file system ({error.filename}); rename it"
            return record | {"status": "failed", "reason": reason}
        return record | {
            "status": "ok",
            "outputs": list(kinds),
            "height": image.shape[0],
            "width": image.shape[1],
            "area": int(result.mask.sum()),
            "mean_uncertainty": round(float(result.uncertainty.mean(dtype=np.float64)), 6),
            "doubt": round(result.doubt, 6),
            "seconds": round(loaded.seconds + device_seconds + time.monotonic() - began, 4),
        }

    def _remove(self, job: Job, kinds: Iterable[str]) -> None:
        for kind in kinds:
            try:
                (self._output_dir / job.output(kind)).unlink(missing_ok=True)
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:  # such a file cannot be there
                    raise

"""Images from files to result files: read ahead in threads, computed on the device, written behind in threads."""

import errno
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ddim_jax.imageio.images import MAX_PIXELS, Picture, ReadOptions, count_pixels, read_picture
from ddim_jax.imageio.writers import Context
from ddim_jax.inference.index import Index
from ddim_jax.inference.jobs import Job
from ddim_jax.inference.segmentation import Segmentation, fuse
from ddim_jax.inference.segmenter import Segmenter
from ddim_jax.preprocessing import Prepared
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.atomic import atomic_path
from ddim_jax.runtime.errors import DataError

PIXELS_AT_ONCE = MAX_PIXELS
"""Bound on the pixels of all pictures between reading and written: as many as the largest that is read at all has, so
that reading and writing stay below 2 GiB."""


class _Loaded(NamedTuple):
    job: Job
    picture: Picture | None
    prepared: Prepared | None
    reason: str | None
    bytes: int | None  # None, as mtime_ns: the file system does not tell
    mtime_ns: int | None
    seconds: float


class Stream:
    """Segments jobs one after the other; iterating gives an index record for each, after its files are written.

    Three things happen at once: threads read, decode and resize the next images, the device works on some, and threads
    fuse, encode and write the results of the last. At most `prefetch` images are on the device and `prefetch` + 1 each
    are being read and being written, so that all three have something to do where `prefetch` is 1; nothing else is
    kept. Of large pictures there are fewer: a picture is decoded when those before it leave room for its pixels
    (`PIXELS_AT_ONCE`), and takes it until its results are written; one alone is decoded at any size.

    Args:
      segmenter: the checkpoint.
      jobs: in the order of the records.
      output_dir: where the results go.
      index: what earlier runs left.
      kinds: the kinds of results that are wanted, names in `WRITERS`. What an earlier run saved besides is written too:
        no file may stay behind from an older state of its image.
      context: for the writers, and how to segment.
      prefetch: images started on the device before the first result is fetched, >= 1.
      allow_damaged: as in `ReadOptions`.

    Attributes:
      waited: seconds in which the device had nothing to do because the next image was not read yet.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        jobs: Iterable[Job],
        output_dir: Path,
        index: Index,
        kinds: tuple[str, ...],
        context: Context,
        prefetch: int,
        allow_damaged: bool = False,
    ):
        self.waited = 0.0
        self._segmenter = segmenter
        self._jobs = jobs
        self._output_dir = output_dir
        self._index = index
        self._kinds = kinds
        self._context = context
        self._prefetch = prefetch
        self._allow_damaged = allow_damaged
        self._device_free = 0.0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        ahead = self._prefetch + 1
        jobs, pixels_inside = iter(self._jobs), 0
        looking, reading, running, writing = deque(), deque(), deque(), deque()
        pool = ThreadPoolExecutor(min(32, 3 * ahead), thread_name_prefix="image-files")
        try:
            while True:
                while len(looking) + len(reading) < ahead and (job := next(jobs, None)):
                    looking.append((job, pool.submit(_count_pixels, job)))
                while looking and looking[0][1].done():
                    job, pixels = looking[0][0], looking[0][1].result()
                    if pixels_inside and pixels_inside + pixels > PIXELS_AT_ONCE:
                        break
                    looking.popleft()
                    pixels_inside += pixels
                    reading.append((pixels, pool.submit(self._load, job)))
                if writing and writing[0][1].done():
                    pixels, written = writing.popleft()
                    pixels_inside -= pixels
                    yield written.result()
                elif reading and reading[0][1].done() and len(running) < self._prefetch:
                    pixels, loaded = reading.popleft()
                    running.append((pixels, *self._start_device(loaded.result())))
                elif running and len(writing) < ahead:
                    pixels, loaded, device, started = running.popleft()
                    writing.append((pixels, self._start_writing(pool, loaded, device, started)))
                elif looking or reading or writing:
                    began, idle = time.monotonic(), not running and (looking or reading)
                    first = [queue[0][1] for queue in (looking, reading, writing) if queue]
                    wait([future for future in first if not future.done()], return_when=FIRST_COMPLETED)
                    self.waited += time.monotonic() - began if idle else 0.0
                else:
                    return
        finally:
            pool.shutdown(cancel_futures=True)

    def _load(self, job: Job) -> _Loaded:
        began = time.monotonic()
        picture, prepared, reason, size, mtime_ns = None, None, None, 0, 0
        try:
            # Taken before reading: a file that changes meanwhile is done again next time.
            stat = os.stat(job.source)
            size, mtime_ns = stat.st_size, stat.st_mtime_ns
            options = self._context.options
            reading = ReadOptions(options.window, options.invert, self._allow_damaged)
            picture = read_picture(job.source, reading)
            prepared = self._segmenter.prepare(picture.pixels, self._context.options)
        except FileNotFoundError:
            reason = f"{job.source}: no longer there"
        except OSError as error:  # of this file alone: a link to itself, no permission, a handle gone stale
            reason, size, mtime_ns = f"{job.source}: cannot be read ({error.strerror})", None, None
        except DataError as error:
            reason = str(error)
        return _Loaded(job, picture, prepared, reason, size, mtime_ns, time.monotonic() - began)

    def _start_device(self, loaded: _Loaded) -> tuple[_Loaded, Any, float]:
        device = None if loaded.prepared is None else self._segmenter.start(loaded.prepared, self._context.options)
        return loaded, device, time.monotonic()

    def _start_writing(self, pool: ThreadPoolExecutor, loaded: _Loaded, device: Any, started: float) -> Future:
        samples = None if device is None else self._segmenter.fetch(device)
        now = time.monotonic()
        seconds, self._device_free = now - max(started, self._device_free), now
        return pool.submit(self._finish, loaded, samples, seconds)

    def _finish(self, loaded: _Loaded, samples: np.ndarray | None, device_seconds: float) -> dict[str, Any]:
        job, picture = loaded.job, loaded.picture
        record = {"name": job.name, "file": job.source, "bytes": loaded.bytes, "mtime_ns": loaded.mtime_ns}
        earlier = self._index.kinds(job.name)
        if samples is None:
            record |= {"status": "failed", "reason": loaded.reason}
            if loaded.mtime_ns is not None and self._index.changed(job.name, loaded.bytes, loaded.mtime_ns):
                self._remove(job, {*earlier, *self._kinds})
                return record
            # A file that is as it was may be unreadable for a while, for want of memory, and while a file server is
            # away nobody knows how it is: its results stay, and are redone with the others once it can be read.
            return record | ({"outputs": list(earlier)} if earlier else {})
        kinds = [kind for kind in WRITERS if kind in earlier or kind in self._kinds]
        began = time.monotonic()
        image = picture.pixels
        result = fuse(samples, image.shape[:2], self._context.options)
        try:
            write_outputs(job, self._output_dir, image, result, kinds, self._context)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            # The fault of this name alone; others can be written.
            self._remove(job, kinds)
            reason = f"{job.source}: the name of a result is too long for the file system ({error.filename}); rename it"
            return record | {"status": "failed", "reason": reason}
        # What there is to say of how it was read, where there is anything.
        read = {"range": picture.range, "notes": picture.notes, "orientation": picture.orientation}
        usual = Picture(image)._asdict()
        record |= {name: value for name, value in read.items() if value != usual[name]}
        return record | {
            "status": "ok",
            "outputs": kinds,
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


def write_outputs(
    job: Job,
    output_dir: Path,
    image: np.ndarray,
    result: Segmentation,
    kinds: Iterable[str],
    context: Context,
) -> None:
    """Writes the results of one image, each file atomically; `kinds` are names in `WRITERS`."""
    for kind in kinds:
        writer = WRITERS.get(kind)()
        with atomic_path(output_dir / job.output(kind), suffix=writer.suffix) as temporary:
            writer.write(temporary, result, image, Path(job.source), context)


def _count_pixels(job: Job) -> int:
    try:
        return count_pixels(job.source)
    except DataError:
        return 0  # reading it says what is wrong

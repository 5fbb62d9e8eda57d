"""Images from files to result files: read ahead in threads, computed on the device, written behind in threads."""

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from ddim_jax.imageio.images import MAX_PIXELS
from ddim_jax.inference.jobs import Job
from ddim_jax.inference.reading import Loaded, Reading
from ddim_jax.inference.records import needs_less
from ddim_jax.inference.results import Results
from ddim_jax.inference.segmenter import Segmenter
from ddim_jax.inference.sliced_image import SlicedImage
from ddim_jax.inference.work import SegmentationPlan
from ddim_jax.runtime.errors import CheckpointError, is_out_of_memory

PIXELS_AT_ONCE = MAX_PIXELS
"""Bound on the pixels of all images between reading and written: as many as the largest that is read at all has, so
that reading and writing stay below 2 GiB."""


@dataclasses.dataclass
class _Batch:
    """Images that were started on the device together; `seconds` is the share of each, once one is there."""

    started: float
    pictures: int
    seconds: float | None = None


class Stream:
    """Segments jobs one after the other; iterating gives an index record for each, after its files are written.

    Three things happen at once: threads read, decode and resize the next images, the device works on some, and threads
    fuse, encode and write the results of the last. At most `prefetch` images are on the device and `prefetch` + 1 each
    are being read and being written, so that all three have something to do where `prefetch` is 1; of batches there are
    two on the device and as many images each being read and written, where that is more. A batch is neighbours of one
    size; it starts when it is full, or when nothing else is being read. Nothing else is kept. Of large images there
    are fewer: an image is decoded when those before it leave room for its pixels (`PIXELS_AT_ONCE`), and takes it
    until its results are written; one alone is decoded at any size. An image that found too little memory beside the
    others is tried again at the end, alone, and fails if it is too little then. A source of several images goes
    through slice by slice; its record comes when all of it is written.

    Args:
      segmenter: the checkpoint.
      work: of the run.
      jobs: those of its images that are to be segmented, in the order of the records.
      results: writes those of each image.

    Attributes:
      waited: seconds in which the device had nothing to do because the next image was not read yet.
    """

    def __init__(self, segmenter: Segmenter, work: SegmentationPlan, jobs: Iterable[Job], results: Results):
        self.waited = 0.0
        self._segmenter = segmenter
        self._work = work
        self._jobs = jobs
        self._results = results
        self._options = work.context.options
        self._reading = Reading(segmenter, self._options)
        self._device_free = 0.0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        large: list[Job] = []
        yield from self._run(self._jobs, large)
        for job in large:
            yield from self._run([job], None)

    def _run(self, jobs: Iterable[Job], large: list[Job] | None) -> Iterator[dict[str, Any]]:
        """The records of all jobs but those that ran out of memory, which `large` gets; None: they have failed."""
        # What was too much for the memory in a batch is tried alone. Tiles of one image make batches of their own.
        batch = 1 if large is None or self._options.size == "tiles" else self._work.file_options.batch_size
        prefetch = self._work.file_options.prefetch
        ahead, at_once = max(prefetch + 1, 2 * batch), max(prefetch, 2 * batch if batch > 1 else 1)
        jobs, pixels_inside, following = iter(jobs), 0, 0  # the next slice of the first that is looked at
        sources: list[SlicedImage] = []
        looking, reading, running, writing = deque(), deque(), deque(), deque()
        gathered: list[tuple[int, Loaded]] = []  # for the next batch
        fault: CheckpointError | None = None
        pool = ThreadPoolExecutor(min(32, 3 * ahead), thread_name_prefix="image-files")
        try:
            while True:
                while len(looking) + len(reading) < ahead and (job := next(jobs, None)):
                    looking.append((job, pool.submit(self._reading.look, job)))
                while looking and looking[0][1].done() and len(reading) < ahead:
                    job, opened = looking[0][0], looking[0][1].result()
                    pixels = opened.pixels
                    if pixels_inside and pixels_inside + pixels > PIXELS_AT_ONCE:
                        break
                    if opened.source is not None and following == 0:
                        sources.append(opened.source)
                    pixels_inside += pixels
                    reading.append((pixels, pool.submit(self._reading.load, job, opened, following)))
                    following += 1
                    if following == opened.count:
                        looking.popleft()
                        following = 0
                if writing and writing[0][1].done():
                    pixels, written = writing.popleft()
                    pixels_inside -= pixels
                    loaded, record = written.result()
                    if loaded.source is not None:
                        if loaded.slice + 1 < loaded.source.count:
                            continue
                        # Its slices before are written: they come in their order.
                        record = self._results.complete(loaded)
                        sources.remove(loaded.source)
                    if record is None and large is not None:
                        large.append(loaded.job)
                    else:
                        yield record or self._results.failed(loaded._replace(reason=needs_less(loaded.job, pixels)))
                elif len(running) + batch <= at_once and reading and _goes_with(gathered, batch, reading[0][1]):
                    pixels, loaded = reading.popleft()
                    gathered.append((pixels, loaded.result()))
                elif gathered and len(running) + batch <= at_once and _is_complete(gathered, batch, reading, looking):
                    running += self._start_device(gathered, 1 if large is None else self._work.file_options.batch_size)
                    gathered = []
                elif running and len(writing) < ahead:
                    pixels, loaded, device, started = running.popleft()
                    try:
                        writing.append((pixels, self._start_writing(pool, loaded, device, started)))
                    except CheckpointError as error:
                        # Nothing new begins, and what is under way is finished: the others are not to blame.
                        fault, jobs = fault or error, iter(())
                        looking.clear(), reading.clear(), gathered.clear()
                        whole = loaded.source
                        running = deque(one for one in running if whole is None or one[1].source is not whole)
                elif looking or reading or writing:
                    began, idle = time.monotonic(), not running and (looking or reading)
                    first = [queue[0][1] for queue in (looking, reading, writing) if queue]
                    wait([future for future in first if not future.done()], return_when=FIRST_COMPLETED)
                    self.waited += time.monotonic() - began if idle else 0.0
                elif fault is not None:
                    raise fault
                else:
                    return
        finally:
            for _, _, device, _ in running:
                if device is not None:
                    device.cancel()
            pool.shutdown(cancel_futures=True)
            for source in sources:
                source.discard()

    def _start_device(self, gathered: list[tuple[int, Loaded]], size: int) -> list[tuple[int, Loaded, Any, "_Batch"]]:
        pictures = [loaded.prepared for _, loaded in gathered if loaded.prepared is not None]
        batch, started = _Batch(time.monotonic(), len(pictures)), None
        if pictures:
            started = self._on_device(self._segmenter.start_batch, pictures, self._options, size)
        rows = iter(started or ())
        return [(pixels, loaded, loaded.prepared and next(rows, None), batch) for pixels, loaded in gathered]

    def _start_writing(self, pool: ThreadPoolExecutor, loaded: Loaded, device: Any, batch: "_Batch") -> Future:
        if device is None:  # nothing of it was on the device, which may be at work on the others
            return pool.submit(self._results.finish, loaded, None, 0.0)
        samples = self._on_device(self._segmenter.fetch, device)
        if batch.seconds is None:
            now = time.monotonic()
            batch.seconds = (now - max(batch.started, self._device_free)) / batch.pictures
            self._device_free = now
        return pool.submit(self._results.finish, loaded, samples, batch.seconds)

    def _on_device(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """The result of `work`; None where one image of its own size takes more memory than there is.

        Of tiles the device holds as many of every image, and the host the samples of all.
        """
        try:
            return work(*arguments)
        except (MemoryError, RuntimeError) as error:
            of_its_own = self._options.size == "native" and is_out_of_memory(error)
            if of_its_own or (self._options.size == "tiles" and isinstance(error, MemoryError)):
                return None
            raise  # the others take as much


def _goes_with(gathered: list[tuple[int, Loaded]], batch: int, following: Future) -> bool:
    """True if the image is read, and the batch has room for it and nothing of another size."""
    if len(gathered) == batch or not following.done():
        return False
    shapes = {one.prepared.pixels.shape for _, one in gathered if one.prepared is not None}
    prepared = following.result().prepared
    return prepared is None or shapes <= {prepared.pixels.shape}


def _is_complete(gathered: list[tuple[int, Loaded]], batch: int, reading: deque, looking: deque) -> bool:
    """True if the batch is full or nothing can join it: the next image is of another size, none is being read, or
    the next has to wait for room."""
    if len(gathered) == batch:
        return True
    return reading[0][1].done() if reading else not looking or looking[0][1].done()

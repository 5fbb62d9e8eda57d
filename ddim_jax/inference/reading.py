"""Images of jobs from files, ready for the network; whatever may be wrong with a file is a text, not an exception."""

import errno
import os
import stat
import time
from typing import NamedTuple

from ddim_jax.imageio.archives import on_disk
from ddim_jax.imageio.images import Picture, ReadOptions, count_pixels, read_picture
from ddim_jax.imageio.stacks import may_be_stack
from ddim_jax.inference.file_state import FileState
from ddim_jax.inference.jobs import Job
from ddim_jax.inference.segmenter import Segmenter
from ddim_jax.inference.sliced_image import SlicedImage
from ddim_jax.preprocessing import Prepared
from ddim_jax.runtime.errors import DataError
from ddim_jax.sampling_options import SamplingOptions


class Opened(NamedTuple):
    """A job by its header; `source` for formats that may hold several images."""

    pixels: int
    source: SlicedImage | None = None
    reason: str | None = None
    state: FileState = FileState()

    @property
    def count(self) -> int:
        """The number of images in the source, 1 for a file of one."""
        return 1 if self.source is None else self.source.count


class Loaded(NamedTuple):
    """An image of a job as it was read, or why it was not; `slice` is its number in a `source` of several."""

    job: Job
    picture: Picture | None
    prepared: Prepared | None
    reason: str | None  # with no image, None: there was not enough memory
    state: FileState
    seconds: float
    source: SlicedImage | None = None
    slice: int = 0


class Reading:
    """Reads jobs; called from several threads.

    Args:
      segmenter: prepares the images.
      options: how to segment.
    """

    def __init__(self, segmenter: Segmenter, options: SamplingOptions):
        self._segmenter = segmenter
        self._options = options
        self._reading = ReadOptions(options.window, options.invert)

    def look(self, job: Job) -> Opened:
        """Opens a source that may hold several images, and counts the pixels of one of them."""
        state = FileState()
        try:
            if not may_be_stack(job.files[0]):
                return Opened(count_pixels(job.source) if os.path.isfile(job.source) else 0)
            # Taken before reading: a file that changes meanwhile is done again next time.
            state = job.state()
            source = SlicedImage(job, self._reading)
            return Opened(source.pixels, source, None, state)
        except FileNotFoundError as error:
            return Opened(0, None, _not_there(error.filename or job.source))
        except OSError as error:
            return Opened(0, None, f"{error.filename or job.source}: cannot be read ({error.strerror})")
        except DataError as error:
            # Of an image of one file, reading it says what is wrong.
            return Opened(0, None, str(error) if state.is_known else None, state)

    def load(self, job: Job, opened: Opened, number: int) -> Loaded:
        """Reads image `number`, from 0, of a source that `look` opened, and prepares it for the network.

        What stands in the way is the `reason` of the result; nothing is raised for the content of a file.
        """
        if opened.source is None and opened.reason is None:
            return self._load_picture(job)
        began = time.monotonic()
        picture, prepared, reason, state = None, None, opened.reason, opened.state
        try:
            if opened.source is not None:
                picture = opened.source.read(number)
                prepared = self._segmenter.prepare(picture.pixels, self._options)
        except DataError as error:
            reason = opened.source.reason = str(error)
        except MemoryError:
            picture, opened.source.out_of_memory = None, True
        if opened.source is None and not are_readable(job, opened.state):  # it need not be the content that is wrong
            state = FileState()
        seconds = time.monotonic() - began
        return Loaded(job, picture, prepared, reason, state, seconds, opened.source, number)

    def _load_picture(self, job: Job) -> Loaded:
        began = time.monotonic()
        picture, prepared, reason, state = None, None, None, FileState()
        try:
            # Taken before reading: a file that changes meanwhile is done again next time.
            before = os.stat(job.source)
            if not stat.S_ISREG(before.st_mode):  # a FIFO would be waited for
                raise OSError(errno.EINVAL, "no regular file")
            state = FileState(before.st_size, before.st_mtime_ns)
            picture = read_picture(job.source, self._reading)
            prepared = self._segmenter.prepare(picture.pixels, self._options)
        except FileNotFoundError:
            reason = _not_there(job.source)
        except OSError as error:  # of this file alone: a link to itself, no permission, a handle gone stale
            reason = f"{job.source}: cannot be read ({error.strerror})"
        except DataError as error:
            reason = str(error)
            if not _is_readable(job.source, before):  # so it need not be its content that is wrong
                state = FileState()
        except MemoryError:
            picture = None
        return Loaded(job, picture, prepared, reason, state, time.monotonic() - began)


def _not_there(path: str | os.PathLike) -> str:
    try:
        return f"{path}: a link to {os.readlink(path)}, which is not there"
    except OSError:  # no link
        return f"{path}: no longer there"


def _is_readable(source: str, before: os.stat_result) -> bool:
    """True if all of a file that is not empty can be read, and it is still what it was `before`."""
    try:
        with open(source, "rb") as file:
            while file.read(2**20):
                pass
            now = os.fstat(file.fileno())
    except OSError:
        return False
    return now.st_size > 0 and (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def are_readable(job: Job, state: FileState) -> bool:
    """`_is_readable` of all files of a source."""
    try:
        files = [(file, os.stat(file)) for file in dict.fromkeys(map(on_disk, job.files))]
        return job.state() == state and all(_is_readable(file, before) for file, before in files)
    except OSError:
        return False

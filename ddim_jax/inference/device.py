"""A network's programs on its device: images are started there, in batches, and their samples fetched.

One compiled program handles the images of a batch with all their samples, a smaller batch filled up to its size, so
every image of one working size runs the same executable. On a CPU each processor has a part of the batch, whose program
takes one image after the other: a result cannot depend, to the bit, on which other images are segmented with it.
Throughput comes from starting the next images before the results of the first are fetched.
"""

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from ddim_jax.imageio.constant import is_constant
from ddim_jax.inference.batches import LARGEST, activation_bytes, choose_batch_size, in_batches, in_parts
from ddim_jax.inference.export_cache import TracedPrograms
from ddim_jax.inference.segmentation import sample_images
from ddim_jax.labels import Labels
from ddim_jax.models import Network, create_process
from ddim_jax.preprocessing import Prepared, as_rgb, image_id, pad_to, prepare
from ddim_jax.runtime.errors import CheckpointError
from ddim_jax.runtime.limits import cores
from ddim_jax.runtime.pinned import pinned
from ddim_jax.sampling_options import SamplingOptions, check_batch_size


class Started(NamedTuple):
    """One image under way, from `DeviceSampler.start` to `DeviceSampler.fetch`.

    Attributes:
      values: device arrays [B, :, h, w, ...] of the images of a program, at the size the network works at; or their
        `Future`.
      shape: the part of (h, w) that is the image; what lies below and to the right of it is padding.
      row: the image's place among those of the program.
      is_constant: that of `Prepared`.
    """

    values: Any
    shape: tuple[int, int]
    row: int = 0
    is_constant: bool = False

    def cancel(self) -> None:
        """Gives the image up if its program waits for a processor: `fetch` fails then."""
        if isinstance(self.values, Future):
            self.values.cancel()


class DeviceSampler:
    """The part of `ddim_jax.inference.Segmenter` that works on the device; what is computed stands there.

    Attributes:
      config, checkpoint, image_size, labels: as `Segmenter` has them.
    """

    def __init__(
        self,
        model: nn.Module,
        params: Any,
        *,
        config: Mapping[str, Any],
        checkpoint: str,
        programs: TracedPrograms | None,
    ):
        self.config = config
        self.checkpoint = checkpoint
        self.image_size = int(config["data"]["image_size"])
        self._params = jax.device_put(params)
        self._size_multiple = model.size_multiple
        self.labels = Labels.from_config(config["data"])
        self._process = create_process(model, config["diffusion"], self.labels)
        self._model = model
        self._bytes: int | None = None  # of a sample, once it was asked for
        self._made: set[tuple] = set()  # the programs that are compiled
        self._making = threading.Lock()
        (self._device,) = jax.device_put(np.int32(0)).devices()  # where the weights are
        sample = functools.partial(sample_images, self._process, Network(model))
        static = ("options", "in_turn", "return_trajectory")
        self._compiled = jax.jit(sample, static_argnames=static) if programs is None else programs.kept(sample)

    def sample_each(
        self, images: Sequence[np.ndarray], options: SamplingOptions, batch_size: int | None = None
    ) -> Iterator[np.ndarray]:
        """Yields what `sample` gives for each image; the device works on the next ones meanwhile.

        Args:
          images: as for `sample`.
          options: checked.
          batch_size: as for `segment`.

        Raises:
          InputError, CheckpointError: as `sample`.
        """
        size = self.batch_size(options, batch_size, len(images))
        pictures = (self.prepare(image, options) for image in images)
        together = 1 if options.size == "tiles" else size
        return map(self.fetch, in_batches(pictures, together, lambda batch: self.start_batch(batch, options, size)))

    def batch_size(self, options: SamplingOptions, given: int | None = None, count: int = 1) -> int:
        """The images, or tiles of one, that a program is made for: the number given or, for None, the device's.

        `ddim_jax.inference.batches.choose_batch_size` says which that is, of `count` images.

        Raises:
          InputError: the number is no whole number, or out of range.
        """
        if given is not None:
            return check_batch_size(given)
        return choose_batch_size(
            self._device, self._sample_bytes, options, LARGEST if options.size == "tiles" else count
        )

    def _sample_bytes(self) -> int:
        if self._bytes is None:
            self._bytes = activation_bytes(self._model, self._params, self.image_size)
        return self._bytes

    def prepare(self, image: np.ndarray, options: SamplingOptions) -> Prepared:
        """Returns what `start` needs of one image; no work for the device, so it can be done in another thread."""
        if options.size == "tiles":
            rgb = as_rgb(image)
            shape = tuple(max(side, self.image_size) for side in rgb.shape[:2])
            return Prepared(pad_to(rgb, shape), rgb.shape[:2], image_id(rgb), is_constant(rgb))
        return prepare(image, None if options.size == "native" else self.image_size, self._size_multiple)

    @pinned()
    def start(self, prepared: Prepared, options: SamplingOptions, *, return_trajectory: bool = False) -> Started:
        """Starts sampling one image with checked options and returns without waiting; `fetch` gives the result.

        Tiles of an image are begun by `fetch`, a few at a time: the device holds no more than these.
        """
        if return_trajectory:
            pixels, identities = prepared.pixels[None], np.array([prepared.identity], np.uint32)
            values = self._program(pixels, identities, options, return_trajectory=True)
            return Started(values, prepared.shape)
        (started,) = self.start_batch([prepared], options, self.batch_size(options))
        return started

    @pinned()
    def start_batch(self, pictures: Sequence[Prepared], options: SamplingOptions, size: int) -> list[Started]:
        """Starts a batch of at most `size` images of one shape, as `start` does, in programs made for that size.

        Of "tiles" the images start one by one, each with `size` of its tiles to a program.
        """
        if options.size == "tiles":
            tiles = (self._tiles(picture, options, size) for picture in pictures)
            return [Started(values, one.shape, 0, one.is_constant) for values, one in zip(tiles, pictures, strict=True)]
        in_turn, started = self._device.platform == "cpu", []
        for part in in_parts(pictures, size, self._device):
            pixels = np.stack([picture.pixels for picture in part])
            identities = np.array([picture.identity for picture in part], np.uint32)
            run = functools.partial(self._program, pixels, identities, options, in_turn=in_turn)
            values = self._submit(run) if in_turn and size > 1 else run()
            started += [Started(values, picture.shape, row, picture.is_constant) for row, picture in enumerate(part)]
        return started[: len(pictures)]

    @functools.cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(cores(), thread_name_prefix="images")

    def _submit(self, run: Callable[[], Any]) -> Any:
        """The `Future` of what `run` gives once it is computed, in a thread; what it gives where none can begin."""
        try:
            return self._threads.submit(_finished, run, jax.config.jax_default_device)
        except RuntimeError:  # the main thread has ended
            return run()

    def _program(self, pixels: np.ndarray, identities: np.ndarray, options: SamplingOptions, **how: bool) -> Any:
        options, seed = options.program(), np.uint32(options.seed)
        kind = (pixels.shape, options, *how.items())
        # Threads that come to a program at once would each compile it.
        with contextlib.nullcontext() if kind in self._made else self._making:
            values = self._compiled(self._params, pixels, seed, identities, options=options, **how)
            self._made.add(kind)
        return values

    def fetch(self, started: Started) -> Any:
        """Waits for an image that was started and cuts off its padding.

        Returns:
          float32 [samples, h, w], of an image of one value -1 throughout; of a trajectory the pair
          (x_t [steps + 1, h, w], x0 [steps, h, w]); with an axis more for several classes, as `trajectory` and `sample`
          have them.

        Raises:
          CheckpointError: there is NaN or infinity.
        """
        if isinstance(started.values, Iterator):
            blend = None
            for place, values, shape in started.values:
                blend = Blend(shape, self.image_size) if blend is None else blend
                blend.add(values, *place)
            values = blend.result()
        else:
            values = self._finite(started)
        # Cropped here, not on the device: there, each size of image would compile programs of its own.
        height, width = started.shape
        values = jax.tree.map(lambda leaf: np.ascontiguousarray(leaf[:, :height, :width]), values)
        return np.full_like(values, -1) if started.is_constant else values

    def _tiles(
        self, prepared: Prepared, options: SamplingOptions, size: int
    ) -> Iterator[tuple[tuple[int, int], Any, Any]]:
        """Yields the place of each tile, its samples, and the shape of the image."""
        tile, shape = self.image_size, prepared.pixels.shape[:2]
        places = [(y, x) for y in tile_starts(shape[0], tile) for x in tile_starts(shape[1], tile)]
        whole = dataclasses.replace(options, size="model")

        def cut() -> Iterator[Prepared]:
            for y, x in places:
                pixels = np.ascontiguousarray(prepared.pixels[y : y + tile, x : x + tile])
                # The noise of a tile is made of its own pixels; one that is the whole image has that of the image.
                identity = prepared.identity if len(places) == 1 else image_id(pixels)
                yield Prepared(pixels, (tile, tile), identity)

        started = in_batches(cut(), size, lambda batch: self.start_batch(batch, whole, size))
        for place, one in zip(places, started, strict=True):
            yield place, self._finite(one), shape

    def drop_programs(self) -> None:
        """Frees the compiled programs; what is used again is compiled again, or read where programs are kept."""
        self._made.clear()
        self._compiled.clear_cache()

    def _finite(self, started: Started) -> Any:
        """The image's part of the batch, once it is there."""
        values = started.values.result() if isinstance(started.values, Future) else started.values
        values = jax.tree.map(lambda leaf: np.asarray(leaf)[started.row], values)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(values)):
            raise CheckpointError(
                f"{self.checkpoint}: sampling gave NaN or infinity; its weights or its arithmetic "
                f"(dtype {self.config['model'].get('overrides', {}).get('dtype', 'float32')}) cannot be used. "
                "Try another step, or float32."
            )
        return values


@pinned()
def _finished(run: Callable[[], Any], default_device: jax.Device | None) -> Any:
    with jax.default_device(default_device):  # as in the thread that wants it; and a program for another is another one
        return jax.block_until_ready(run())


def tile_starts(length: int, tile: int) -> list[int]:
    """The first pixels of the tiles along a side of `length` pixels: evenly spread, the first at 0, the last ending
    where the side ends, neighbours sharing half a tile or more. One where `length` is at most `tile`."""
    if length <= tile:
        return [0]
    steps = -(-(length - tile) // max(1, tile // 2))
    return [step * (length - tile) // steps for step in range(steps + 1)]


def tile_weights(tile: int) -> np.ndarray:
    """float32 [tile, tile] above 0: the part that each pixel of a tile has in the blend, falling to its borders."""
    along = np.minimum(np.arange(1, tile + 1), np.arange(tile, 0, -1)).astype(np.float32)
    return np.outer(along, along) / along.max() ** 2


class Blend:
    """The weighted mean of the tiles over an image; a pixel that one tile covers has the value of that tile.

    Args:
      shape: (H, W) of the image.
      tile: the side of a tile.
    """

    def __init__(self, shape: tuple[int, int], tile: int):
        self._shape, self._weights = shape, tile_weights(tile)
        self._total = np.zeros(shape, np.float32)
        self._sum: np.ndarray | None = None

    def add(self, values: np.ndarray, y: int, x: int) -> None:
        """Adds a tile [samples, tile, tile, ...] whose first pixel is (y, x) of the image."""
        if self._sum is None:
            self._sum = np.zeros((len(values), *self._shape, *values.shape[3:]), np.float32)
        tile = len(self._weights)
        place = slice(y, y + tile), slice(x, x + tile)
        weights = self._weights.reshape(tile, tile, *[1] * (values.ndim - 3))
        self._sum[:, *place] += values * weights
        self._total[place] += self._weights

    def result(self) -> np.ndarray:
        """float32 [samples, H, W, ...]; every pixel has to be covered."""
        self._sum /= self._total.reshape(*self._shape, *[1] * (self._sum.ndim - 3))
        return self._sum

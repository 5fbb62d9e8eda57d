"""A whole split decoded, checked and resized into two uint8 arrays: what fits is read once."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ddim_jax.data.sources import Example, Source, data_error
from ddim_jax.imageio.images import resize_image, resize_mask
from ddim_jax.runtime.errors import DataError


class Arrays(NamedTuple):
    """A split at one size.

    Attributes:
      ids: N names.
      images: uint8 [N, S, S, 3].
      masks: uint8 [N, S, S], values {0, 1}.
    """

    ids: tuple[str, ...]
    images: np.ndarray
    masks: np.ndarray


def resized(example: Example, image_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The pair at `image_size` x `image_size`: the image bilinear and antialiased, the mask nearest."""
    shape = (image_size, image_size)
    return resize_image(example.image, shape), resize_mask(example.mask, shape)


def load_arrays(source: Source, image_size: int, *, threads: int = 8) -> Arrays:
    """Reads every pair of `source`, checks it and resizes it.

    Args:
      source: any source.
      image_size: S, in pixels.
      threads: how many pairs are decoded at once (decoding leaves the interpreter's lock).

    Raises:
      DataError: some pairs cannot be used; up to ten are named with what is wrong, the rest counted.
    """
    images = np.empty((len(source), image_size, image_size, 3), np.uint8)
    masks = np.empty((len(source), image_size, image_size), np.uint8)

    def store(row: int, example: Example) -> None:
        images[row], masks[row] = resized(example, image_size)

    _visit([source], store, threads)
    return Arrays(source.ids, images, masks)


def check_source(*sources: Source, threads: int = 8) -> None:
    """Reads every pair of the sources once and keeps none, so that all problems of a data set are told together.

    Raises:
      DataError: as `load_arrays`, over all sources.
    """
    _visit(sources, lambda row, example: None, threads)


def _visit(sources: Sequence[Source], use, threads: int) -> None:
    def attempt(place: tuple[Source, int]) -> str | None:
        source, row = place
        try:
            example = source[row]
        except DataError as error:
            return str(error)
        use(row, example)
        return None

    places = [(source, row) for source in sources for row in range(len(source))]
    with ThreadPoolExecutor(threads) as pool:
        problems = [problem for problem in pool.map(attempt, places) if problem is not None]
    if problems:
        raise data_error(f"{len(problems)} of {len(places)} pairs of {sources[0].name} cannot be used:", problems)

"""Parts of training images without a structure, as images of their own, whose mask is empty.

A network that is trained on images which all hold a structure finds one in every image. Where a set has no others,
its images have parts that show none.
"""

from typing import NamedTuple

import numpy as np

from ddim_jax.data.sources import Example

_SIDES = 0.5, 0.8
"""Least and largest side of a window, in shares of the image: larger ones are rarely free, smaller show little."""
_PLACES = 200
"""Windows of an image that are tried."""
DARK = 30
"""Level up to which a pixel may be of the frame around the image, as that of an endoscope."""
_DARKER = 0.05
"""A window may have that share of dark pixels more than its image."""
STREAM = 2**61
"""The key of the random numbers, apart from those of the order, of annotators and of crops."""


class Window(NamedTuple):
    """The part of image number `row` from (top, left) on, in pixels; a `ddim_jax.data.derived.Derived`."""

    row: int
    top: int
    left: int
    height: int
    width: int
    mark = "empty"

    def of(self, example: Example) -> Example:
        """Cuts the part out of the pair."""
        inside = np.s_[self.top : self.top + self.height, self.left : self.left + self.width]
        annotators = None if example.annotators is None else example.annotators[(slice(None), *inside)]
        return Example(example.id, example.image[inside], example.mask[inside], example.notes, annotators)


def find_window(example: Example, row: int, seed: int) -> Window | None:
    """The largest of 200 drawn windows of half to four fifths of the sides without a structure or an ignored pixel.

    None of them may be much darker than the image.

    Args:
      example: the pair.
      row: its number; with the seed it decides what is drawn.
      seed: of the run.

    Returns:
      The window; None where none is free.
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, STREAM + row], np.uint64)))
    taken = (example.mask if example.annotators is None else example.annotators.max(axis=0)) != 0
    dark = example.image.max(axis=-1) <= DARK
    sides = np.array(taken.shape)
    size = np.maximum(1, (sides * rng.uniform(*_SIDES, (_PLACES, 1))).astype(int))
    corner = (rng.random((_PLACES, 2)) * (sides - size + 1)).astype(int)
    share_dark = _counts(dark, corner, size) / size.prod(axis=1)
    free = (_counts(taken, corner, size) == 0) & (share_dark <= dark.mean() + _DARKER)
    if not free.any():
        return None
    best = np.argmax(np.where(free, size.prod(axis=1), 0))
    return Window(row, *corner[best].tolist(), *size[best].tolist())


def _counts(pixels: np.ndarray, corner: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Counts the pixels that are True in each window, from sums over all that is above and to the left.

    Args:
      pixels: boolean [H, W].
      corner, size: int [n, 2], rows and columns; the windows lie in the image.

    Returns:
      int64 [n].
    """
    sums = np.pad(pixels.astype(np.int64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    (top, left), (bottom, right) = corner.T, (corner + size).T
    return sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]

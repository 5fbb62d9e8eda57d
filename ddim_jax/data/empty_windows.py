"""Parts of training pictures without a structure, as pictures of their own, whose mask is empty.

A network that is trained on pictures which all hold a structure finds one in every picture. Where a set has no others,
its pictures have parts that show none.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ddim_jax.data.arrays import check_source
from ddim_jax.data.facts import PixelBudget
from ddim_jax.data.sources import Example, Source, annotators_of, labels_of, note_of
from ddim_jax.runtime.errors import DataError

_SIDES = 0.5, 0.8
"""Least and largest side of a window, in shares of the picture: larger ones are rarely free, smaller show little."""
_PLACES = 200
"""Windows of a picture that are tried."""
_DARK = 30
"""Level up to which a pixel may be of the frame around the picture, as that of an endoscope."""
_DARKER = 0.05
"""A window may have that share of dark pixels more than its picture."""
_STREAM = 2**61  # of the random numbers, apart from those of the order, of annotators and of crops
_MARK = "//empty"  # no name of a file has two slashes


class Window(NamedTuple):
    """The part of picture number `row` from (top, left) on, in pixels."""

    row: int
    top: int
    left: int
    height: int
    width: int


def find_window(example: Example, row: int, seed: int) -> Window | None:
    """The largest of 200 drawn windows of half to four fifths of the sides without a structure or an ignored pixel.

    None of them may be much darker than the picture.

    Args:
      example: the pair.
      row: its number; with the seed it decides what is drawn.
      seed: of the run.

    Returns:
      The window; None where none is free.
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, _STREAM + row], np.uint64)))
    taken = (example.mask if example.annotators is None else example.annotators.max(axis=0)) != 0
    dark = example.image.max(axis=-1) <= _DARK
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
      corner, size: int [n, 2], rows and columns; the windows lie in the picture.

    Returns:
      int64 [n].
    """
    sums = np.pad(pixels.astype(np.int64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    (top, left), (bottom, right) = corner.T, (corner + size).T
    return sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]


class WithEmptyWindows:
    """A source and, after its pairs, parts of their pictures without a structure.

    Args:
      source: the training split.
      windows: the parts, each of one of the pictures, in the order in which they follow.

    Attributes:
      name, note, labels, annotators: those of the source.
      ids: the names of its pairs, then for each window the name of its picture and "//empty".
      digest: 0 to 2**28, the same for the same windows.
    """

    def __init__(self, source: Source, windows: Sequence[Window]):
        self.name, self.note, self.labels = source.name, note_of(source), labels_of(source)
        self.annotators = annotators_of(source)
        self.ids = (*source.ids, *(source.ids[window.row] + _MARK for window in windows))
        self._source, self._windows = source, tuple(windows)
        self.digest = int(hashlib.sha256(repr(self._windows).encode()).hexdigest()[:7], 16)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Example:
        if index < len(self._source):
            return self._source[index]
        row, top, left, height, width = self._windows[index - len(self._source)]
        example, inside = self._source[row], np.s_[top : top + height, left : left + width]
        annotators = None if example.annotators is None else example.annotators[(slice(None), *inside)]
        return Example(self.ids[index], example.image[inside], example.mask[inside], example.notes, annotators)

    def count_pixels(self, index: int) -> int:
        """Pixels that are decoded for pair `index`; 0 of a source in memory."""
        count = getattr(self._source, "count_pixels", None)
        row = index if index < len(self._source) else self._windows[index - len(self._source)].row
        return 0 if count is None else count(row)


def with_empty_windows(source: Source, share: float, seed: int, threads: int = 8) -> Source:
    """The source with windows of so many of its pictures, one each; itself for a share of 0.

    Pictures are read in a drawn order until enough of them have given a window.

    Args:
      source: the training split.
      share: windows by pictures, 0 .. 1.
      seed: of the run; the same gives the same windows.
      threads: pictures that are read at once.

    Raises:
      DataError: pairs cannot be read; all of them are collected, up to ten are named.
    """
    wanted = round(share * len(source))
    if not wanted:
        return source
    budget, found = PixelBudget(), []

    def one(row: int) -> Window | None:
        with budget.room_for(source, row):
            return find_window(source[row], row, seed)

    order = np.random.Generator(np.random.Philox(key=np.array([seed, _STREAM - 1], np.uint64))).permutation(len(source))
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(order), 4 * threads):
            try:
                windows = list(pool.map(one, order[first : first + 4 * threads].tolist()))
            except DataError:
                check_source(source)  # names all that cannot be read
                raise
            found += [window for window in windows if window is not None]
            if len(found) >= wanted:
                break
    return WithEmptyWindows(source, found[:wanted])

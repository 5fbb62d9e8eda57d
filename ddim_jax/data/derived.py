"""Images that are made of those of the training split and trained on beside them."""

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from ddim_jax.data import empty_windows, erased
from ddim_jax.data.arrays import THREADS, check_source
from ddim_jax.data.facts import PixelBudget
from ddim_jax.data.rows import OfRows
from ddim_jax.data.sources import Example, Source, example_of
from ddim_jax.runtime.errors import DataError


class Derived(Protocol):
    """An image that is made of image number `row`; equal ones make equal images.

    Attributes:
      mark: how it was made, in one word.
    """

    row: int
    mark: str

    def of(self, example: Example) -> Example:
        """Makes it of the pair `row`, whose name it keeps."""
        ...


class WithDerived(OfRows):
    """A source and, after its pairs, others that are made of them.

    Args:
      source: the training split.
      derived: how, in the order in which they follow.

    Attributes:
      derived: as given.
      ids: the names of its pairs, then for each derived one the name of its image, "//" and its mark.
      digest: 0 to 2**28, the same for the same derived images.
    """

    def __init__(self, source: Source, derived: Sequence[Derived]):
        super().__init__(source, [(source, row) for row in (*range(len(source)), *(one.row for one in derived))])
        self.ids = (*source.ids, *(f"{source.ids[one.row]}//{one.mark}" for one in derived))  # no file's name has "//"
        self.derived = tuple(derived)
        self.digest = int(hashlib.sha256(repr(self.derived).encode()).hexdigest()[:7], 16)

    def __getitem__(self, index: int) -> Example:
        example, number = super().__getitem__(index), index - len(self) + len(self.derived)
        return example if number < 0 else self.derived[number].of(example)._replace(id=self.ids[index])


def with_derived(source: Source, *, windows: float, erasures: float, side: int, seed: int) -> Source:
    """The source with images without a structure made of its own; itself where none are wanted.

    Images are read in a drawn order until enough of them have given one of each kind.

    Args:
      source: the training split.
      windows: windows (`ddim_jax.data.empty_windows`) by images, 0 .. 1.
      erasures: images whose structures are erased (`ddim_jax.data.erased`) by images, 0 .. 1; half as many, rounded
        down, are repaired beside their structures.
      side: height and width in pixels that images are trained at.
      seed: of the run; the same gives the same images.

    Raises:
      DataError: pairs cannot be read; all of them are collected, up to ten are named.
    """
    window = functools.partial(empty_windows.find_window, seed=seed)
    found = [*_found(source, window, round(windows * len(source)), empty_windows.STREAM, seed)]
    wanted = round(erasures * len(source))
    for mark, count in ((erased.ERASED, wanted), (erased.REPAIRED, wanted // 2)):
        repair = functools.partial(erased.find_repair, side=side, seed=seed, mark=mark)
        found += _found(source, repair, count, erased.STREAMS[mark], seed)
    return WithDerived(source, found) if found else source


def _found(
    source: Source,
    find: Callable[[Example, int], Derived | None],
    wanted: int,
    stream: int,
    seed: int,
) -> Iterator[Derived]:
    """Yields those of one kind, as many as are wanted or can be found."""
    if not wanted:
        return
    budget, found = PixelBudget(), 0

    def one(row: int) -> Derived | None:
        with budget.room_for(source, row):
            return find(example_of(source, row), row)

    order = np.random.Generator(np.random.Philox(key=np.array([seed, stream - 1], np.uint64))).permutation(len(source))
    with ThreadPoolExecutor(THREADS) as pool:
        for first in range(0, len(order), 4 * THREADS):
            try:
                made = list(pool.map(one, order[first : first + 4 * THREADS].tolist()))
            except DataError:
                check_source(source)  # names all that cannot be read
                raise
            for derived in made:
                if derived is not None and found < wanted:
                    found += 1
                    yield derived
            if found >= wanted:
                return

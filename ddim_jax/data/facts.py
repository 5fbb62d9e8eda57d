"""Facts about pairs, found where they are decoded anyway: the digest of the pixels, sizes, foreground."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from PIL import Image

from ddim_jax.data.sources import Example, Source
from ddim_jax.imageio.images import MAX_PIXELS
from ddim_jax.labels import IGNORED, Labels
from ddim_jax.preprocessing import resize_nearest
from ddim_jax.runtime.errors import DataError

SIZES = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Working sizes that are tried, in pixels."""


class PairFacts(NamedTuple):
    """The properties of a decoded pair.

    Attributes:
      sha256: of the shape and the pixels of picture and mask.
      height, width: in pixels.
      levels: the largest number of different values in a channel, 1 .. 256.
      values: those of the mask, ascending, without 0 and the ignored ones; of classes that overlap, their numbers.
      share: of the pixels that are foreground, 0 .. 1.
      extent: the longer side of the box around the foreground, in pixels; 0 where there is none.
      lost: those of `SIZES` at which the nearest pixel leaves nothing of some of `values`, ascending.
      notes: the kinds of the example's notes.
    """

    sha256: bytes
    height: int
    width: int
    levels: int
    values: tuple[int, ...]
    share: float
    extent: int
    lost: tuple[int, ...]
    notes: tuple[str, ...] = ()


def facts_of(example: Example, labels: Labels = Labels()) -> PairFacts:
    """The facts of one pair, with a mask of `labels`."""
    digest = hashlib.sha256(np.asarray(example.image.shape, "<u8").tobytes())
    digest.update(np.ascontiguousarray(example.image))
    digest.update(np.ascontiguousarray(example.mask if example.annotators is None else example.annotators))
    levels = np.reshape(Image.fromarray(example.image).histogram(), (3, 256))
    values = values_of(example.mask, labels)
    inside = (example.mask != 0) & (example.mask != IGNORED) if values else None
    extent = 0
    if values:
        extent = max(int(np.ptp(np.flatnonzero(inside.any(axis=axis)))) + 1 for axis in (0, 1))
    return PairFacts(
        sha256=digest.digest(),
        height=example.mask.shape[0],
        width=example.mask.shape[1],
        levels=int((levels > 0).sum(axis=1).max()),
        values=values,
        share=float(inside.mean()) if values else 0.0,
        extent=extent,
        lost=tuple(size for size in SIZES if size < max(example.mask.shape) and is_lost(example.mask, size, labels)),
        notes=tuple(note.partition(" (")[0] for note in example.notes),
    )


def values_of(mask: np.ndarray, labels: Labels = Labels()) -> tuple[int, ...]:
    """The values of a decoded mask, ascending, without 0 and the ignored ones; the classes where they may overlap."""
    if labels.multilabel:
        return tuple(number for number in range(1, labels.count + 1) if labels.of_class(mask, number).any())
    counts = Image.fromarray(mask).histogram()
    return tuple(value for value in range(1, IGNORED) if counts[value])


def is_lost(mask: np.ndarray, size: int, labels: Labels = Labels()) -> bool:
    """Returns True if one of `values_of` is lost when the mask is resized to `size` x `size` by the nearest pixel."""
    return values_of(resize_nearest(mask, (size, size)), labels) != values_of(mask, labels)


class PixelBudget:
    """Bounds the pixels of the pairs that threads decode at once: one that alone has more than that is read alone.

    Args:
      pixels: of pictures and masks together.
    """

    def __init__(self, pixels: int = MAX_PIXELS):
        self._pixels, self._inside = pixels, 0
        self._changed = threading.Condition()

    @contextmanager
    def room_for(self, source: Source, row: int) -> Iterator[None]:
        """Waits until the pair `row` of `source` fits beside those that are in the block now.

        A source tells its pixels by a method `count_pixels(row)`; one without has its pictures in memory.
        """
        count = getattr(source, "count_pixels", None)
        try:
            pixels = 0 if count is None else count(row)
        except DataError:
            pixels = 0  # reading it says what is wrong
        with self._changed:
            self._changed.wait_for(lambda: not self._inside or self._inside + pixels <= self._pixels)
            self._inside += pixels
        try:
            yield
        finally:
            with self._changed:
                self._inside -= pixels
                self._changed.notify_all()

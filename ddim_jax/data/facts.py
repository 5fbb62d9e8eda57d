"""Facts about pairs, found where they are decoded anyway: the digest of the pixels, sizes, foreground."""

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ddim_jax.data.sources import Example, Source, pixels_of
from ddim_jax.imageio.images import MAX_PIXELS, note_parts
from ddim_jax.labels import IGNORED, Labels
from ddim_jax.preprocessing import resize_mask, resize_nearest
from ddim_jax.runtime.errors import DataError

SIZES = (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Working sizes that are tried, in pixels."""
THUMBNAIL = 32
"""Side of the thumbnail of an image, in pixels."""


class PairFacts(NamedTuple):
    """The properties of a decoded pair.

    Attributes:
      sha256: of the shape and the pixels of image and mask.
      height, width: in pixels.
      levels: the largest number of different values in a channel, 1 .. 256.
      values: those of the mask, ascending, without 0 and the ignored ones; of classes that overlap, their numbers.
      share: of the pixels that are foreground, 0 .. 1.
      extent: the longer side of the box around the foreground, in pixels; 0 where there is none.
      lost: those of `SIZES`, and of the working sizes that were asked for, at which the nearest pixel leaves nothing
        of some of `values`, ascending.
      notes: the kinds of the example's notes.
      resized: the Dice of the mask itself at working sizes (`resized_dice`), of those that were asked for; {} without
        foreground.
      range: that of the example.
      picture: SHA-256 of the shape and the pixels of the image alone (`image_digest`).
      thumbnail: grey levels of the image at 32 x 32 pixels, row by row.
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
    resized: Mapping[int, float] = MappingProxyType({})
    range: tuple[float, float] | None = None
    picture: bytes = b""
    thumbnail: bytes = b""


def image_digest(pixels: np.ndarray) -> Any:
    """SHA-256, still open, over the shape and the uint8 values of a decoded image."""
    digest = hashlib.sha256(np.asarray(pixels.shape, "<u8").tobytes())
    digest.update(np.ascontiguousarray(pixels))
    return digest


def facts_of(
    example: Example, labels: Labels = Labels(), resized_at: Sequence[int] = (), image_size: int | None = None
) -> PairFacts:
    """The facts of one pair, with a mask of `labels`, and its Dice at the working sizes `resized_at`.

    At these and at `image_size`, in pixels, it is found out if a class is lost too.
    """
    sizes = sorted({*SIZES, *resized_at, *(() if image_size is None else (image_size,))})
    digest = image_digest(example.image)
    picture = digest.digest()
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
        lost=tuple(size for size in sizes if size < max(example.mask.shape) and is_lost(example.mask, size, labels)),
        notes=tuple(note_parts(note)[0] for note in example.notes),
        resized={size: resized_dice(example.mask, size, labels) for size in resized_at} if values else {},
        picture=picture,
        range=example.range,
        thumbnail=_thumbnail(example.image),
    )


def _thumbnail(image: np.ndarray) -> bytes:
    """The thumbnail of `PairFacts`, by a filter that gives an image and its half about the same values."""
    small = Image.fromarray(image).convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.HAMMING)
    return small.tobytes()


def values_of(mask: np.ndarray, labels: Labels = Labels()) -> tuple[int, ...]:
    """The values of a decoded mask, ascending, without 0 and the ignored ones; the classes where they may overlap."""
    if labels.multilabel:
        return tuple(number for number in range(1, labels.count + 1) if labels.of_class(mask, number).any())
    counts = Image.fromarray(mask).histogram()
    return tuple(value for value in range(1, IGNORED) if counts[value])


def is_lost(mask: np.ndarray, size: int, labels: Labels = Labels()) -> bool:
    """Returns True if one of `values_of` is lost when the mask is resized to `size` x `size` by the nearest pixel."""
    return values_of(resize_nearest(mask, (size, size)), labels) != values_of(mask, labels)


def resized_dice(mask: np.ndarray, size: int, labels: Labels = Labels()) -> float:
    """Dice of a perfect answer at `size` x `size`, enlarged again (bilinear, cut at 0.5), in [0, 1].

    The answer is the mask as it is trained on at that size (`resize_mask`). The mean over the classes of the mask, of
    which there is one at least; 1 where the mask is not larger.
    """
    height, width = mask.shape
    if size >= max(mask.shape):
        return 1.0
    small, margins, found = resize_mask(mask, (size, size)), (-(-height // size), -(-width // size)), []
    for number in values_of(mask, labels):
        whole = labels.of_class(mask, number) != 0
        sides = []  # of the part that the enlarged answer can lie in: elsewhere both are empty
        for axis, length, margin in ((1, height, margins[0]), (0, width, margins[1])):
            inside = np.flatnonzero(whole.any(axis=axis))
            sides.append((max(0, int(inside[0]) - margin), min(length, int(inside[-1]) + 1 + margin)))
        (top, bottom), (left, right) = sides
        part = (left * size / width, top * size / height, right * size / width, bottom * size / height)
        answer = Image.fromarray(np.where(labels.of_class(small, number) != 0, np.uint8(255), np.uint8(0)))
        answer = answer.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=part)
        drawn, truth = np.asarray(answer) >= 128, whole[top:bottom, left:right]
        found.append(2 * int((drawn & truth).sum()) / int(drawn.sum() + truth.sum()))
    return float(np.mean(found))


class PixelBudget:
    """Bounds the pixels of the pairs that threads decode at once: one that alone has more than that is read alone.

    Args:
      pixels: of images and masks together.
    """

    def __init__(self, pixels: int = MAX_PIXELS):
        self._pixels, self._inside = pixels, 0
        self._changed = threading.Condition()

    @contextmanager
    def room_for(self, source: Source, row: int) -> Iterator[None]:
        """Waits until the pair `row` of `source` fits beside those that are in the block now."""
        try:
            pixels = pixels_of(source, row)
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

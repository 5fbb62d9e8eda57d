"""Label maps: masks of few exact values that are not 0 and one other, told apart and refused with their values."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ddim_jax.imageio.levels import JPEG_NOISE, LARGEST_LABEL, flat_places, histogram
from ddim_jax.labels import IGNORED
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import NAMED_AT_MOST, quantity

MOST_LABELS = 64
"""A lossless file with more different values is an image, not a label map."""
_MOST_WITHOUT_NOISE = 10
"""With more, those near both ends of the range are what is left of a JPEG file that was saved again."""
TO_SAY = " Say what they stand for: "
"""Stands in the message of an `UnnamedValuesError` between the facts and the fields of a training, its last words."""


class UnnamedValuesError(DataError):
    """Masks hold values, and nothing says what they stand for: `data.labels` decides."""


class LabelMapError(UnnamedValuesError):
    """A mask holds more values than background and one class, and nothing says what they stand for.

    Attributes:
      counts: number of pixels of each value.
      name: of the file.
    """

    def __init__(self, name: str, counts: Mapping[int, int]):
        self.counts, self.name = dict(counts), name
        first = first_of(sorted(self.counts.items()))
        found = ", ".join(f"{value} ({quantity(pixels, 'pixel')})" for value, pixels in first)
        super().__init__(f"{name}: is a label map, it holds the values {found}; {_what_to_do(self.counts)}")


def describe_label_maps(errors: Sequence[LabelMapError], total: int) -> str:
    """One message for all label maps of a data set: each value with its pixels and files, and the option that decides.

    Args:
      errors: one or more.
      total: the number of masks of the data set.
    """
    found = []
    for value in first_of(sorted({value for error in errors for value in error.counts})):
        holding = [error for error in errors if value in error.counts]
        pixels = sum(error.counts[value] for error in holding)
        found.append(f"{value} ({quantity(pixels, 'pixel')} in {len(holding)} of them, such as {holding[0].name})")
    counts = {value: 0 for error in errors for value in error.counts}
    return f"{len(errors)} of {total} masks are label maps, with the values {', '.join(found)}; {_what_to_do(counts)}"


def _what_to_do(counts: Mapping[int, int]) -> str:
    values = sorted(value for value in counts if value != 0)
    ignored = [value for value in values if value < 0 or (value == IGNORED and len(values) > 1)]
    classes = first_of(v for v in values if v not in ignored) or ["VALUE"]
    named = ", ".join(f'"NAME{k}": {value}' for k, value in enumerate(classes, 1))
    return (
        f"expected 0 and one other.{TO_SAY}"
        f"--config.data.labels='{{{named}}}' for classes (a list "
        "for several values, the name background for further background), --config.data.ignore="
        f"{ignored[0] if ignored else 'VALUE'} for pixels that do not count."
    )


def first_of(items) -> list:
    return list(items)[:NAMED_AT_MOST]


def label_counts(values: np.ndarray) -> dict[int, int] | None:
    """The pixels of each value of a lossless mask that is a label map; None for one of two levels or a soft one."""
    counts = value_counts(values, most=MOST_LABELS)
    return counts if counts is not None and are_labels(sorted(counts), [values]) else None


def are_labels(found: Sequence[int], slices: Iterable[np.ndarray]) -> bool:
    """True if the few exact values of an image, or of the slices [H, W] of a volume, are those of a label map.

    Two levels are 0 and one other value, or one value throughout. Of a few exact values, those inside the range are
    either labels or what anti-aliasing left at the edges: the labels are small numbers, or have an area where 3 x 3
    pixels agree, which an edge does not.

    Args:
      found: the values that there are, whole numbers, ascending.
    """
    if len(found) == 1 or (len(found) == 2 and found[0] == 0):
        return False
    inner, high = found[1:-1], found[-1]
    if len(found) == 2 or inner[-1] <= LARGEST_LABEL:
        return True
    if (
        len(found) > _MOST_WITHOUT_NOISE
        and any(value <= found[0] + JPEG_NOISE for value in inner)
        and any(value >= high - JPEG_NOISE for value in inner)
    ):
        return False
    return any(np.isin(values[flat_places(values, 0)], inner).any() for values in slices)


def value_counts(values: np.ndarray, most: int | None = None) -> dict[int, int] | None:
    """The pixels of each value, ascending; None where there are more than `most` or they are not whole numbers."""
    if values.dtype == np.uint8:
        counts = histogram(values)
        found = np.flatnonzero(counts)
        return None if most and len(found) > most else {int(value): int(counts[value]) for value in found}
    # The first rows tell an image from a label map without sorting all of it.
    if most and len(np.unique(values[:64])) > most:
        return None
    found, counts = np.unique(values, return_counts=True)
    if most and (len(found) > most or not np.array_equal(found, np.round(found))):
        return None
    return {plain_number(value): int(pixels) for value, pixels in zip(found, counts, strict=True)}


def plain_number(value: np.number) -> int | float:
    return int(value) if value == int(value) else float(value)

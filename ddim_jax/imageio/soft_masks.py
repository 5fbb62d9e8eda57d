"""Masks with soft edges: the one range that all of it is cut in the middle of, be it an image or a volume."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ddim_jax.imageio.label_maps import MOST_LABELS, are_labels
from ddim_jax.imageio.levels import LARGEST_LABEL, SoftRange, flat_places
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import quantity

_SCALES = (1, 255, 1023, 4095, 16383, 65535)
"""The largest values of masks as programs write them."""
_NEAR = 0.75  # of its scale, from where half of the range is about half of the scale
_TOP = 0.9  # of the range, from where values are the upper level or its edge
_INSIDE = 9  # pixels


def mask_scaling(
    stored: np.ndarray, scaled: Callable[[np.ndarray], np.ndarray], slope: float
) -> Callable[[np.ndarray], np.ndarray]:
    """Returns `scaled`, or its whole numbers where these are labels that were spread over all values of an integer.

    nibabel does so with labels of floating point that are saved with the header of an image of integers: with a slope
    of 13 / 65535, the labels 0, 1 and 13 come back as 0, .99997 and 13. Values are labels where there are few of them,
    each lies within half a step of a whole number of its own; soft edges do not.

    Args:
      stored: the values of the mask, any shape.
      scaled: maps them to their numbers.
      slope: the step between two of these.
    """
    step = abs(slope)  # from 1 on, neighbouring labels have become one value
    if stored.dtype.kind not in "iu" or step >= 1 or (few := _few_values(stored)) is None:
        return scaled
    values = scaled(np.array(few, stored.dtype))
    whole = np.rint(values)
    near = np.abs(values - whole).max() <= step / 2 + 1e-6 * np.abs(values).max()
    return (lambda part: np.rint(scaled(part))) if near and len(set(whole.tolist())) == len(few) else scaled


def soft_range(slices: Callable[[], Iterator[np.ndarray]], name: str) -> SoftRange | None:
    """The range of a mask that is read by level and has soft edges; None for exact values, two or a label map.

    A slice of a resampled volume may hold the tail of a structure alone, and an image the edge of one: half of what is
    there is not half of the scale. So the range is that of the whole volume, of fractions up to 1 it is from 0 to 1,
    and it has to be seen: it reaches about up to a usual scale, or some pixels inside of a structure agree on its top.

    Args:
      slices: gives the slices [H, W] of the volume, or the one image, as often as it is called.
      name: of the file, for the error.

    Raises:
      DataError: nothing says where the scale ends; the largest value is named.
    """
    low, high = np.inf, -np.inf
    for part in slices():
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    if not np.isfinite([low, high]).all() or all(((part == low) | (part == high)).all() for part in slices()):
        return None
    few = _few_values(slices())
    is_whole = few is not None and all(value == round(value) for value in few)
    if is_whole and are_labels(few, slices()):
        return None
    if low >= 0 and high <= 1:
        return SoftRange(0.0, 1.0, few is not None)
    scale = next((scale for scale in _SCALES[1:] if scale >= high), high)
    if high > LARGEST_LABEL and low > _NEAR * high:  # noise around the upper level alone
        return SoftRange(low, high, True)
    if high < _NEAR * scale and not any(_has_inside(part, low, high) for part in slices()):
        raise DataError(
            f"{name}: its values go up to {high:g} and no 3 x 3 pixels agree on that, so they may be the edge of a "
            f"structure on a scale up to {scale}; expected two levels. Save the mask as 0 and 255."
        )
    return SoftRange(low, high, True)


def soft_notes(slices: Iterable[np.ndarray], soft: SoftRange) -> tuple[str, ...]:
    """Says how many values of the slices of a mask are cut inside of its range; () for none."""
    between = sum(np.count_nonzero((part > soft.low) & (part < soft.high)) for part in slices)
    cut = (soft.low + soft.high) / 2
    told = f"soft mask ({quantity(between, 'value')} between {soft.low:g} and {soft.high:g}, cut at {cut:g})"
    return (told,) if between else ()


def _few_values(slices: Iterable[np.ndarray]) -> list[float] | None:
    """The different values, ascending; None for more than a label map has."""
    found: set[float] = set()
    for part in slices:
        for start in range(0, len(part), 64):  # soon enough of an image, without sorting all of it
            found.update(np.unique(part[start : start + 64]).tolist())
            if len(found) > MOST_LABELS:
                return None
    return sorted(found)


def _has_inside(values: np.ndarray, low: float, high: float) -> bool:
    if np.count_nonzero(values >= low + _TOP * (high - low)) < _INSIDE:
        return False
    bins = np.round((values - low) * (255 / (high - low))).astype(np.uint8)
    return bool(flat_places(bins, 4)[bins >= 255 * _TOP].any())

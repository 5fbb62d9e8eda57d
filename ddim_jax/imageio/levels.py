"""The levels of a mask of one class: two, with soft edges or compression noise between them, or an error."""

from typing import NamedTuple

import numpy as np

from ddim_jax.runtime.errors import DataError

LARGEST_LABEL = 15
"""Label maps count 0, 1, 2, ...; images use their full range. Up to here each value is a label of its own."""
JPEG_NOISE = 32
"""The largest value in a JPEG file that can still be compression noise around 0."""
_MOST_BETWEEN = 0.5
"""The share of a mask's pixels that may be soft edges; of radiographs and photographs more lie inside of the range."""


class SoftRange(NamedTuple):
    """The range of a mask with soft edges; `ddim_jax.imageio.soft_masks.soft_range` finds it.

    Attributes:
      low, high: its ends; what lies above the middle is foreground.
      has_levels: a third level inside is looked for; not in shares of pixels, 0 to 1, of many values.
    """

    low: float
    high: float
    has_levels: bool


def mask_of_levels(values: np.ndarray, *, lossy: bool, name: str, soft: SoftRange | None = None) -> np.ndarray:
    """A mask by brightness alone; the rules are those of `ddim_jax.imageio.masks.mask_of_picture`.

    Args:
      values: [H, W], uint8 or finite float64; the foreground is what is larger.
      lossy, name: as there.
      soft: the range, where `values` are a part of what has it; None for their own.

    Returns:
      uint8 [H, W], values {0, 1}.

    Raises:
      DataError: more than two levels, or none: most pixels lie between the ends, as in a radiograph or a photograph.
    """
    low, high = (float(values.min()), float(values.max())) if soft is None else soft[:2]
    if lossy and high < JPEG_NOISE:
        if low < high <= 2:
            raise DataError(
                f"{name}: the largest value of this JPEG mask is {high:g}, which may be label 1 or compression noise. "
                "Save the mask as PNG, with 0 for the background and 255 for the foreground."
            )
        return np.zeros(values.shape, np.uint8)
    if low == high:
        return np.full(values.shape, high > 0, np.uint8)
    if high > LARGEST_LABEL and low > 0.75 * high:
        return np.ones(values.shape, np.uint8)
    levels = separated_levels(values, (low, high)) if soft is None or soft.has_levels else []
    if len(levels) > 2:
        found = ", ".join(f"{level:g}" for level in levels[:10])
        raise DataError(
            f"{name}: holds {len(levels)} well-separated levels ({found}), expected two (background and foreground). "
            "Decide which of them are foreground and save the mask as 0 and 255, or save exact values without loss "
            "and say in data.labels what they stand for."
        )
    margin = 0.1 * (high - low)
    between = float(np.mean((values > low + margin) & (values < high - margin)))
    if between > _MOST_BETWEEN and values.min() == low and values.max() == high:  # not a slice with a part of the range
        raise DataError(
            f"{name}: more than half of its pixels lie between its darkest and its brightest, so it looks like an "
            "image, not a mask; expected two levels with soft edges at most. Put the mask in its place, saved as 0 and "
            "255."
        )
    return (values > (low + high) / 2).astype(np.uint8)


def separated_levels(values: np.ndarray, ends: tuple[float, float] | None = None) -> list[float]:
    """Finds the levels a mask is made of, in its own units, ascending; soft edges and compression noise are not levels.

    Args:
      values: [H, W], uint8 or finite floats.
      ends: the range that they are a part of, which is not a single value; None for their own.
    """
    low, high = (float(values.min()), float(values.max())) if ends is None else ends
    if high <= LARGEST_LABEL and low >= 0 and np.array_equal(values, np.round(values)):
        return [float(level) for level in np.unique(values)]
    # Eight bits, by a table where there are few values: a mask may have many millions of pixels.
    given = np.clip(np.arange(256.0), low, high) if values.dtype == np.uint8 else values
    bins = np.round((given - low) * (255 / (high - low))).astype(np.uint8)
    bins = bins[values] if values.dtype == np.uint8 else bins
    flat = flat_places(bins, 4)
    counts = histogram(bins)
    inside = _window_counts(histogram(bins[flat]))
    area = _window_counts(counts)
    is_level = (inside >= max(9, 2e-4 * bins.size)) | (area >= 0.1 * bins.size)
    # Where a wide soft edge levels out (a thin part, much blurred) it is flat too, but comes with its slopes.
    strength = np.where(is_level & (area >= 5 * _slope_counts(counts)), area, 0)
    strength[: _INNER.start] = strength[_INNER.stop :] = 0
    levels = [low, high]
    while strength.any():
        peak = int(strength.argmax())
        levels.append(float(np.median(values[(bins >= peak - 2) & (bins <= peak + 2)])))
        strength[max(peak - 8, 0) : peak + 9] = 0
    return sorted(levels)


def flat_places(values: np.ndarray, most: float) -> np.ndarray:
    """Finds the pixels whose 3 x 3 neighbourhood differs by `most` at most, bool [H, W].

    A soft edge changes from pixel to pixel; a region of its own has an inside, where they agree.
    """
    from scipy import ndimage  # not at the head: few need it, and it takes long to import

    flat = ndimage.maximum_filter(values, 3) - ndimage.minimum_filter(values, 3) <= most
    flat[[0, -1]] = flat[:, [0, -1]] = False
    return flat


# In 0..255; what lies within a tenth of the range from either end belongs to that end.
_INNER = slice(26, 230)


def histogram(bins: np.ndarray) -> np.ndarray:
    """Histogram of 0..255, int [256]; made in parts, since NumPy converts its input to 64-bit numbers."""
    flat = bins.ravel()
    parts = (flat[start : start + 2**20] for start in range(0, len(flat), 2**20))
    return sum((np.bincount(part, minlength=256) for part in parts), np.zeros(256, np.int64))


def _window_counts(counts: np.ndarray) -> np.ndarray:
    """Number of values within 2 of each of 0..255, from the histogram int [256]."""
    return np.convolve(counts, np.ones(5, counts.dtype), mode="same")


def _slope_counts(counts: np.ndarray) -> np.ndarray:
    """Number of values that a window of 5 would hold if the histogram beside it (4 to 16 off, fuller side) went on."""
    sides = np.lib.stride_tricks.sliding_window_view(np.pad(counts, 16), 13)
    below, above = np.median(sides[:256], axis=-1), np.median(sides[20:276], axis=-1)
    return 5 * np.maximum(below, above)

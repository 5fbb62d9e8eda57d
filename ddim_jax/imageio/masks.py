"""Masks as {0, 1} from whatever a file holds: one rule, and an error where two readings are possible.

Masks are published as 0/255, 0/1, booleans, palettes, pictures with soft (anti-aliased) edges, or JPEG files whose
compression left noise around two levels. All of them are two levels with something in between, and half of the range is
the border. What must not pass is a picture with a third level (several organs in one file): halving its range would
silently merge or drop one of them.
"""

import numpy as np
from PIL import Image
from scipy import ndimage

from ddim_jax.runtime.errors import DataError

# Label maps count 0, 1, 2, ...; pictures use their full range. Up to here each value is a label of its own.
_LARGEST_LABEL = 15
# The largest value in a JPEG file that can still be compression noise around 0.
_JPEG_NOISE = 32


def binary_mask(picture: Image.Image, *, lossy: bool, name: str) -> np.ndarray:
    """Reads a decoded picture as a mask.

    The rules, in this order:

    * Booleans, grey of any depth and palettes or RGB made of greys go by brightness. A palette with colours goes by its
      index (0 is the background). RGB with colours must be exactly two of them, one black (the background).
    * With an alpha channel that varies over a picture of one colour, alpha is the mask; else the picture is laid over
      black.
    * A constant mask is empty where it is 0 and full elsewhere (in a JPEG: elsewhere from 32 on).
    * Otherwise the foreground is what lies above half of the range between the smallest and the largest value. Noise
      around the upper level alone (smallest value above three quarters of the largest) is a full mask; in a JPEG,
      values below 32 alone are an empty one.
    * A third well-separated level is an error: a flat area, or a tenth of all pixels, at one value inside the range;
      and any third value where all of them are at most 15 (a label map).

    Args:
      picture: one frame, any Pillow mode.
      lossy: True if it came from a JPEG file.
      name: its name in an error, usually the path.

    Returns:
      uint8 [H, W], values {0, 1}.

    Raises:
      DataError: more than two levels, colours that do not say which is the background, or NaN.
    """
    return mask_of_levels(_levels_image(picture, lossy=lossy, name=name), lossy=lossy, name=name)


def mask_of_levels(values: np.ndarray, *, lossy: bool, name: str) -> np.ndarray:
    """The part of `binary_mask` that goes by brightness alone.

    Args:
      values: [H, W], uint8 or finite float64; the foreground is what is larger.
      lossy, name: as for `binary_mask`.

    Returns:
      uint8 [H, W], values {0, 1}.

    Raises:
      DataError: more than two levels.
    """
    low, high = float(values.min()), float(values.max())
    if lossy and high < _JPEG_NOISE:
        if low < high <= 2:
            raise DataError(
                f"{name}: the largest value of this JPEG mask is {high:g}, which may be label 1 or compression noise. "
                "Save the mask as PNG, with 0 for the background and 255 for the foreground."
            )
        return np.zeros(values.shape, np.uint8)
    if low == high:
        return np.full(values.shape, high > 0, np.uint8)
    if high > _LARGEST_LABEL and low > 0.75 * high:
        return np.ones(values.shape, np.uint8)
    levels = separated_levels(values)
    if len(levels) > 2:
        found = ", ".join(f"{level:g}" for level in levels[:10])
        raise DataError(
            f"{name}: holds {len(levels)} well-separated levels ({found}), expected two (background and foreground). "
            "Decide which of them are foreground and save the mask as 0 and 255."
        )
    return (values > (low + high) / 2).astype(np.uint8)


def separated_levels(values: np.ndarray) -> list[float]:
    """Finds the levels a mask is made of, in its own units, ascending; soft edges and compression noise are not levels.

    Args:
      values: [H, W], uint8 or finite floats, not constant.
    """
    low, high = float(values.min()), float(values.max())
    if high <= _LARGEST_LABEL and low >= 0 and np.array_equal(values, np.round(values)):
        return [float(level) for level in np.unique(values)]
    # Eight bits, by a table where there are few values: a mask may have many millions of pixels.
    given = np.clip(np.arange(256.0), low, high) if values.dtype == np.uint8 else values
    bins = np.round((given - low) * (255 / (high - low))).astype(np.uint8)
    bins = bins[values] if values.dtype == np.uint8 else bins
    # A soft edge changes from pixel to pixel; a region of its own has an inside, where 3 x 3 pixels agree.
    flat = ndimage.maximum_filter(bins, 3) - ndimage.minimum_filter(bins, 3) <= 4
    flat[[0, -1]] = flat[:, [0, -1]] = False
    counts = _histogram(bins)
    inside = _window_counts(_histogram(bins[flat]))
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


# In 0..255; what lies within a tenth of the range from either end belongs to that end.
_INNER = slice(26, 230)


def _histogram(bins: np.ndarray) -> np.ndarray:
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


def _levels_image(picture: Image.Image, *, lossy: bool, name: str) -> np.ndarray:
    """One number a pixel, [H, W], so that the foreground is the larger one: uint8 where the file has no more, else
    float64."""
    if picture.mode in ("P", "PA"):
        indices = np.asarray(picture if picture.mode == "P" else picture.getchannel(0))
        palette = np.asarray(picture.convert("RGB"))
        return palette[..., 0] if _is_grey(palette, 0) else indices.astype(np.uint8)
    if picture.mode in ("LA", "RGBa", "RGBA"):
        return _without_alpha(np.asarray(picture.convert("RGBA")), name)
    if picture.mode in ("1", "L"):
        return np.asarray(picture).astype(np.uint8)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.float64)
        if not np.isfinite(values).all():
            raise DataError(f"{name}: holds NaN or infinite values; save the mask as 0 and 255.")
        return values
    return _from_colours(np.asarray(picture.convert("RGB")), tolerance=24 if lossy else 2, name=name)


def over_black(rgba: np.ndarray) -> np.ndarray:
    """A picture with alpha, uint8 [H, W, 4], laid over black: uint8 [H, W, 3], colour times alpha / 255, rounded."""
    product = rgba[..., :3].astype(np.uint16) * rgba[..., 3:]
    product += 127  # at most 65152; a multiple of 1/255 is never half way between two whole numbers
    return (product // np.uint16(255)).astype(np.uint8)


def _without_alpha(rgba: np.ndarray, name: str) -> np.ndarray:
    colours, alpha = rgba[..., :3], rgba[..., 3]
    if (colours == colours[0, 0]).all() and alpha.min() < alpha.max():
        return alpha
    return _from_colours(over_black(rgba), tolerance=2, name=name)


def _from_colours(rgb: np.ndarray, *, tolerance: int, name: str) -> np.ndarray:
    if _is_grey(rgb, tolerance):
        return rgb[..., 1]
    # As one number a pixel: NumPy takes minutes to sort the rows of a large photograph.
    numbers, counts = np.unique(rgb.astype(np.int32) @ np.array([2**16, 2**8, 1], np.int32), return_counts=True)
    colours = np.stack([numbers >> 16, (numbers >> 8) & 255, numbers & 255], axis=-1)
    if len(colours) <= 2 and (len(colours) == 1 or not colours[0].any()):
        return (rgb.max(axis=-1) > 0).astype(np.uint8)
    most = colours[np.argsort(-counts, kind="stable")[:5]]
    found = ", ".join(str(tuple(int(channel) for channel in colour)) for colour in most)
    raise DataError(
        f"{name}: holds {len(colours)} colours (most often {found}), expected grey levels or one colour on black. "
        "Save the mask as grey, with 0 for the background and 255 for the foreground."
    )


def _is_grey(rgb: np.ndarray, tolerance: int) -> bool:
    return bool((rgb.max(axis=-1) - rgb.min(axis=-1) <= tolerance).all())

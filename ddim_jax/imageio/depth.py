"""More than 8 bits a channel brought to 8: the range that is shown is found in the image's own values.

Scanners store 10 or 12 bits in 16, and which, the file does not say. So the range is 0 up to the largest value of 8,
10, 12, 14 or 16 bits that holds what the image holds; one image's contrast does not depend on its brightest pixel
but for that choice. A thousandth of the values at each end do not take part: a single hot pixel changes nothing.
Images of one scanner get several ranges where some are darker: a window that is given is that of all.
"""

from typing import NamedTuple

import numpy as np

_DEPTHS = np.array([255, 1023, 4095, 16383, 65535])
_TAIL = 1e-3
FEW_LEVELS = 64
"""Levels of 256; with fewer, numbers with an offset are stretched, and of others it is said."""


class Depth(NamedTuple):
    """The mapping of values 0..65535 to 0..255.

    Attributes:
      low, high: the stored values that become 0 and 255, whole numbers but of a window that is given; what lies beyond
        them becomes 0 and 255 too.
      table: uint8 [65536], by the stored value.
      notes: what a user should know of it.
    """

    low: float
    high: float
    table: np.ndarray
    notes: tuple[str, ...]


def find_depth(counts: np.ndarray, window: tuple[float, float] | None = None) -> Depth:
    """Finds the range of an image with values of 0..65535, or takes that of `window`, a centre and a width.

    Where all values are above half of the largest (numbers with an offset) and fewer than `FEW_LEVELS` would be left,
    the range is that of the values, widened to round numbers so that images of one kind tend to share it.

    Args:
      counts: int [65536], how often each value occurs; not all 0.
    """
    counts = np.asarray(counts)
    below = np.cumsum(counts)
    total, tail = int(below[-1]), max(1, int(_TAIL * below[-1]))
    tail = min(tail, (total - 1) // 2)
    least, most = (int(np.searchsorted(below, rank)) for rank in (tail + 1, total - tail))
    low, high, notes = 0, int(_DEPTHS[np.searchsorted(_DEPTHS, most)]), []
    if high > 255 and 0 < (most - least) * 255 < FEW_LEVELS * high and least > most / 2:
        step = 1 << max(0, (most - least).bit_length() - 4)
        low, high = least // step * step, (most // step + 1) * step
    if window is not None:
        low, high = window[0] - window[1] / 2, window[0] + window[1] / 2
    table = np.clip(np.round((np.arange(65536.0) - low) * (255 / (high - low))), 0, 255).astype(np.uint8)
    there = np.flatnonzero(counts)
    left = len(np.unique(table[there]))
    if left < FEW_LEVELS and len(there) > 2 * left:
        notes.append(f"few levels ({left} are left of {len(there)} between {low:g} and {high:g})")
    return Depth(low, high, table, tuple(notes))


def count_values(counts: np.ndarray, values: np.ndarray) -> None:
    """Adds the values, unsigned integers up to 65535 of any shape, to `counts`, int64 [65536]."""
    counts += np.bincount(values.ravel(), minlength=65536)

"""Values of any range as grey levels."""

import numpy as np

_FAR = 1024  # times the range from 0: there float32 loses levels
_SHARE = 0.5  # per cent of the values at either end that may be out of range: noise, metal, a text


def robust_limits(values: np.ndarray) -> tuple[float, float]:
    """The range of 99% of the values that are finite, so that one odd pixel changes nothing; (0, 1) without any."""
    values = values[np.isfinite(values)] if values.dtype.kind == "f" else values.ravel()
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values, [_SHARE, 100 - _SHARE])
    if low == high:
        low, high = values.min(), values.max()
    return float(low), float(high)


def window_of(low: float, high: float) -> tuple[float, float]:
    """The centre and width of a range as `linear` shows it; of one value, which is black there, the width is 1."""
    width = high - low or 1.0
    return low + width / 2, width


def linear(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8 of the same shape: 0 at `low` and below and for NaN, 255 at `high` and above."""
    wide = values.dtype.itemsize > (4 if values.dtype.kind == "f" else 2)
    if values.dtype.kind == "f":  # where float32 is enough it stays, so that images of earlier runs are the same
        wide = wide and max(abs(low), abs(high)) > _FAR * (high - low)
    exact = np.float64 if wide else np.float32
    scaled = (values.astype(exact) - exact(low)) * exact(255 / max(high - low, 1e-12))
    return np.round(np.clip(np.nan_to_num(scaled, nan=0.0), 0, 255)).astype(np.uint8)

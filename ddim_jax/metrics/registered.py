"""All registered metrics of a mask at once."""

import inspect
import math
from collections.abc import Callable

import numpy as np

from ddim_jax.metrics.overlap import Counts, confusion_counts
from ddim_jax.metrics.surface import hausdorff
from ddim_jax.registry import METRICS
from ddim_jax.runtime.errors import ConfigError


def measure(
    prediction: np.ndarray, truth: np.ndarray, ignored: int = 0, pixel_mm: tuple[float, float] | None = None
) -> tuple[Counts, dict[str, float]]:
    """The pixel counts of a mask against the truth, and every registered metric by name.

    Args:
      prediction: [H, W] of 0 and 1 (or boolean).
      truth: [H, W], the same.
      ignored: pixels, 0 in both, that are in no count.
      pixel_mm: from row to row and from column to column, for "hd95_mm"; None leaves that out.

    Raises:
      ValueError: the masks differ in size or hold other values.
      ConfigError: as `finite`.
    """
    counts = confusion_counts(prediction, truth)
    counts = counts._replace(true_negative=counts.true_negative - ignored)
    values = {
        name: metric(counts) if _takes_counts(metric) else metric(prediction, truth) for name, metric in METRICS.items()
    }
    if pixel_mm is not None:
        values["hd95_mm"] = hausdorff(prediction, truth, 95.0, pixel_mm)
    return counts, {name: finite(name, value) for name, value in values.items()}


def measure_counts(counts: Counts) -> dict[str, float]:
    """The registered metrics that are functions of pixel counts, by name; `ConfigError` as `finite`."""
    return {name: finite(name, metric(counts)) for name, metric in METRICS.items() if _takes_counts(metric)}


def finite(name: str, value: object) -> float:
    """The value that the metric of that name gave, as float: means and intervals of a whole data set are made of it.

    Raises:
      ConfigError: it is no finite number.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"the metric {name!r} gives {value!r}; expected a finite number for every pair of masks")
    return number


def _takes_counts(metric: Callable) -> bool:
    return len(inspect.signature(metric).parameters) == 1

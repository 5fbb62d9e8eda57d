"""All registered metrics of a mask at once."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ddim_jax.metrics.overlap import Counts, confusion_counts
from ddim_jax.registry import METRICS, place_of
from ddim_jax.runtime.errors import ConfigError, InputError


def measure(
    prediction: np.ndarray, truth: np.ndarray, ignored: int = 0, pixel_mm: tuple[float, float] | None = None
) -> tuple[Counts, dict[str, float]]:
    """The pixel counts of a mask against the truth, and every registered metric by name.

    Args:
      prediction: [H, W] of 0 and 1 (or boolean).
      truth: [H, W], the same.
      ignored: pixels, 0 in both, that are in no count.
      pixel_mm: from row to row and from column to column; None leaves out metrics that have a parameter of that name.

    Raises:
      ValueError: the masks differ in size or hold other values.
      ConfigError: as `value_of`.
    """
    counts = confusion_counts(prediction, truth)
    counts = counts._replace(true_negative=counts.true_negative - ignored)
    values = {}
    for name, metric in METRICS.items():
        call = METRICS.call_of(metric)
        given = (counts,) if call.startswith("counts") else (prediction, truth)
        if "pixel_mm" not in call:
            values[name] = value_of(name, metric, *given)
        elif pixel_mm is not None:
            values[name] = value_of(name, metric, *given, pixel_mm=pixel_mm)
    return counts, values


def measure_counts(counts: Counts) -> dict[str, float]:
    """The registered metrics that are functions of pixel counts alone, by name; `ConfigError` as `value_of`.

    One in millimetres is not: the counts may be of several images, whose pixels differ in size.
    """
    of_counts = ((name, metric) for name, metric in METRICS.items() if METRICS.call_of(metric) == "counts")
    return {name: value_of(name, metric, counts) for name, metric in of_counts}


def value_of(name: str, metric: Callable[..., float], *given: Any, **named: Any) -> float:
    """The value that the metric of that name gives for these arguments: means of a whole data set are made of it.

    Raises:
      ConfigError: it fails, with its error as the cause, or gives no finite number.
    """
    try:
        value = metric(*given, **named)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise ConfigError(f"the metric {name!r} fails at {place_of(error)}") from error
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"the metric {name!r} gives {value!r}; expected a finite number for every pair of masks")
    return number

"""All registered metrics of a mask at once."""

import inspect
from collections.abc import Callable

import numpy as np

from ddim_jax.metrics.overlap import Counts, confusion_counts
from ddim_jax.registry import METRICS


def measure(prediction: np.ndarray, truth: np.ndarray, ignored: int = 0) -> tuple[Counts, dict[str, float]]:
    """The pixel counts of a mask against the truth, and every registered metric by name.

    Args:
      prediction: [H, W] of 0 and 1 (or boolean).
      truth: [H, W], the same.
      ignored: pixels, 0 in both, that are in no count.

    Raises:
      ValueError: the masks differ in size or hold other values.
    """
    counts = confusion_counts(prediction, truth)
    counts = counts._replace(true_negative=counts.true_negative - ignored)
    values = {
        name: metric(counts) if _takes_counts(metric) else metric(prediction, truth) for name, metric in METRICS.items()
    }
    return counts, {name: float(value) for name, value in values.items()}


def measure_counts(counts: Counts) -> dict[str, float]:
    """The registered metrics that are functions of pixel counts, by name."""
    return {name: float(metric(counts)) for name, metric in METRICS.items() if _takes_counts(metric)}


def _takes_counts(metric: Callable) -> bool:
    return len(inspect.signature(metric).parameters) == 1

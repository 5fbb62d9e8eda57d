"""One number that makes a probability more or less sure, fitted to images that were not trained on.

Temperature scaling (Guo, Pleiss, Sun and Weinberger, On calibration of modern neural networks, ICML 2017, Section 4.2):
the logit of the probability is divided by T. T above 1 makes it less sure; 0.5 stays 0.5. Of several classes each
probability is scaled against all else, with one T.
"""

import numpy as np

from ddim_jax.metrics.calibration import BINS, Calibration, bin_numbers
from ddim_jax.metrics.doubt import check_factor, check_unit_interval

_LARGEST, _STEP = 10.0, 0.05
_GRID = np.linspace(-_LARGEST, _LARGEST, round(2 * _LARGEST / _STEP) + 1)
TEMPERATURES = 0.05, 20.0
"""The smallest and the largest that `fit_temperature` gives."""


def logit_counts(probability: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Counts the pixels by the logit of their probability, so that all pixels of a data set fit into memory.

    Args:
      probability: in [0, 1], any shape. Logits beyond -10 and 10, those of 0 and 1 among them, are taken for these.
      truth: boolean, the same shape.

    Returns:
      int64 [2, 401]: background and foreground at the logits -10, -9.95, ..., 10. Sums over images add up.
    """
    places = np.rint((_logit(np.asarray(probability, np.float64)) + _LARGEST) / _STEP).astype(int)
    return np.stack([np.bincount(places[truth == inside], minlength=len(_GRID)) for inside in (False, True)])


def fit_temperature(counts: np.ndarray) -> float:
    """The T from 0.05 to 20 with the least negative log-likelihood of the pixels that `logit_counts` counted."""
    from scipy.optimize import minimize_scalar  # not at the head: few need it, and it takes long to import

    def loss(log_temperature: float) -> float:
        scaled = _GRID / np.exp(log_temperature)
        return float((counts[0] * np.logaddexp(0, scaled) + counts[1] * np.logaddexp(0, -scaled)).sum())

    return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))


def scale_probability(probability: np.ndarray, temperature: float) -> np.ndarray:
    """The probability with its logit divided by `temperature`, float32, the same shape.

    Logits beyond -10 and 10, those of 0 and 1 among them, are taken for these, as by `logit_counts`.

    Raises:
      ValueError: a probability is not in [0, 1], or the temperature is not above 0 and finite.
    """
    from scipy.special import expit  # not at the head: few need it, and it takes long to import

    probability = check_unit_interval("probability", probability)
    check_factor("temperature", temperature)
    return expit(_logit(probability) / temperature).astype(np.float32)


def calibration_at(counts: np.ndarray, temperature: float) -> Calibration:
    """The pixels that `logit_counts` counted, sorted into bins by their scaled probability.

    Raises:
      ValueError: the temperature is not above 0 and finite.
    """
    from scipy.special import expit  # not at the head: few need it, and it takes long to import

    check_factor("temperature", temperature)
    scaled, pixels = expit(_GRID / temperature), counts.sum(axis=0)
    bins = bin_numbers(scaled)

    def sums(weights: np.ndarray) -> np.ndarray:
        return np.bincount(bins, weights, minlength=BINS)

    return Calibration(sums(pixels).astype(np.int64), sums(pixels * scaled), sums(counts[1]).astype(np.int64))


def _logit(probability: np.ndarray) -> np.ndarray:
    """The logits, from -10 to 10."""
    from scipy.special import logit  # not at the head: few need it, and it takes long to import

    with np.errstate(divide="ignore"):
        return np.clip(logit(probability), -_LARGEST, _LARGEST)

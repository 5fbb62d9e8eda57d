"""Expected calibration error of a foreground probability over the pixels.

Of the pixels that were given the probability 0.7, seven in ten should be foreground. Guo et al. (On calibration of
modern neural networks, ICML 2017, Eq. 3) compare the two in equal bins; here for two classes, with the probability of
the foreground in the place of the confidence in the class that was predicted.
"""

from typing import NamedTuple

import numpy as np

BINS = 15  # of Guo et al.
_INNER_EDGES = np.arange(1, BINS) / BINS


class Calibration(NamedTuple):
    """Sums over the pixels of each bin; summing two of them field by field (`+`) pools two images.

    Bin b holds the probabilities in (b/15, (b + 1)/15], bin 0 those equal to 0 as well.

    Attributes:
      pixels: int64 [15], how many.
      probability: float64 [15], the sum of their probabilities.
      foreground: int64 [15], how many of them are foreground in the truth.
    """

    pixels: np.ndarray
    probability: np.ndarray
    foreground: np.ndarray

    def __add__(self, other: "Calibration") -> "Calibration":
        return Calibration(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


def calibration_sums(probability: np.ndarray, truth: np.ndarray) -> Calibration:
    """Sorts the pixels of one image into bins.

    Args:
      probability: [H, W] in [0, 1], of the foreground.
      truth: [H, W] of 0 and 1 (or boolean).

    Raises:
      ValueError: the shapes differ or hold no pixel, a probability lies outside [0, 1] or is NaN, or the truth holds
        other values.
    """
    probability, truth = np.asarray(probability), np.asarray(truth)
    probability = probability.astype(np.result_type(probability, np.float32), copy=False)
    if probability.shape != truth.shape or probability.ndim != 2 or probability.size == 0:
        raise ValueError(
            f"probability and truth must be two maps [H, W] of one size; found {probability.shape} and {truth.shape}"
        )
    if not (probability.min() >= 0.0 and probability.max() <= 1.0):
        raise ValueError(f"probability must lie in [0, 1]; found {probability.min()} to {probability.max()}")
    if truth.dtype != bool and not np.isin(truth, (0, 1)).all():
        raise ValueError(f"truth must hold 0 and 1 only; found values from {truth.min()} to {truth.max()}")
    bins = bin_numbers(probability.ravel())
    return Calibration(
        pixels=np.bincount(bins, minlength=BINS),
        probability=np.bincount(bins, probability.ravel(), minlength=BINS),
        foreground=np.bincount(bins[truth.ravel().astype(bool)], minlength=BINS),
    )


def bin_numbers(probability: np.ndarray) -> np.ndarray:
    """The bin of each probability, from 0."""
    # The edges rounded as the probabilities are, so that the vote of three in five lies on its edge.
    return np.searchsorted(_INNER_EDGES.astype(probability.dtype), probability)


def expected_calibration_error(sums: Calibration) -> float:
    """The sum over bins B of |B|/N |mean probability of B - fraction of foreground in B|, in [0, 1].

    0 is calibrated. Plain background, given a probability of nearly 0, is most of many images and hardly adds to the
    sum, so the value is small even where the pixels in doubt are far off: look at their bins as well.

    Args:
      sums: of one image, or of several added up.

    Raises:
      ValueError: there is no pixel.
    """
    total = int(sums.pixels.sum())
    if total == 0:
        raise ValueError("there is no pixel to be calibrated")
    # |B| cancels: |B| times a difference of means is a difference of sums.
    return float(np.abs(sums.probability - sums.foreground).sum() / total)

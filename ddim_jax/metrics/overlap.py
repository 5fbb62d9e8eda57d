"""Overlap of two binary masks: confusion counts and the four ratios made from them.

Empty masks. The rule is the same for all four ratios:

- both masks empty: 1. Nothing was there and nothing was drawn, which is right.
- exactly one of them empty: 0. Where the formula is 0/0 (recall without a true pixel, precision without a drawn one)
  it is 0 as well. Counting it as 1 would reward a model for drawing on healthy images, and leaving the image out
  would let two models be averaged over different images.

The ratios take counts, not masks, so they serve one image and counts summed over a data set ("pooled") alike.
"""

from typing import NamedTuple

import numpy as np

from ddim_jax.registry import METRICS


class Counts(NamedTuple):
    """Numbers of pixels by truth and prediction; summing two of them field by field (`+`) pools two images."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


def check_masks(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both masks as boolean [H, W].

    Args:
      prediction: [H, W], boolean or of numbers that are 0 or 1.
      truth: the same.

    Raises:
      ValueError: the shapes differ, are not [H, W] with at least one pixel, or a value is neither 0 nor 1.
    """
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape or prediction.ndim != 2 or prediction.size == 0:
        raise ValueError(
            f"prediction and truth must be two masks [H, W] of one size; found {prediction.shape} and {truth.shape}"
        )
    for name, mask in (("prediction", prediction), ("truth", truth)):
        if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
            raise ValueError(f"{name} must hold 0 and 1 only; found values from {mask.min()} to {mask.max()}")
    return prediction.astype(bool), truth.astype(bool)


def confusion_counts(prediction: np.ndarray, truth: np.ndarray) -> Counts:
    """Counts the pixels of each kind.

    Args:
      prediction: [H, W] of 0 and 1 (or boolean).
      truth: [H, W], the same.

    Returns:
      Counts of Python integers, adding up to H * W.

    Raises:
      ValueError: the masks differ in size or hold other values.
    """
    prediction, truth = check_masks(prediction, truth)
    true_positive = int(np.count_nonzero(prediction & truth))
    predicted, actual = int(np.count_nonzero(prediction)), int(np.count_nonzero(truth))
    return Counts(
        true_positive=true_positive,
        false_positive=predicted - true_positive,
        false_negative=actual - true_positive,
        true_negative=truth.size - predicted - actual + true_positive,
    )


def _ratio(counts: Counts, numerator: int, denominator: int) -> float:
    if counts.true_positive + counts.false_positive + counts.false_negative == 0:
        return 1.0
    return numerator / denominator if denominator else 0.0


@METRICS.register("recall")
def recall(counts: Counts) -> float:
    """TP / (TP + FN), in [0, 1]; both masks empty: 1, exactly one empty: 0."""
    return _ratio(counts, counts.true_positive, counts.true_positive + counts.false_negative)


@METRICS.register("precision")
def precision(counts: Counts) -> float:
    """TP / (TP + FP), in [0, 1]; both masks empty: 1, exactly one empty: 0."""
    return _ratio(counts, counts.true_positive, counts.true_positive + counts.false_positive)


@METRICS.register("dice")
def dice(counts: Counts) -> float:
    """2 TP / (2 TP + FP + FN), in [0, 1]; both masks empty: 1, exactly one empty: 0."""
    return _ratio(
        counts, 2 * counts.true_positive, 2 * counts.true_positive + counts.false_positive + counts.false_negative
    )


@METRICS.register("iou")
def iou(counts: Counts) -> float:
    """TP / (TP + FP + FN), the Jaccard index, in [0, 1]; both masks empty: 1, exactly one empty: 0."""
    return _ratio(counts, counts.true_positive, counts.true_positive + counts.false_positive + counts.false_negative)

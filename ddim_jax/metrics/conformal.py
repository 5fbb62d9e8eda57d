"""Intervals of a structure's area and lower bounds of a mask's Dice that hold for a chosen share of images.

Split-conformal prediction (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; Lei, G'Sell,
Rinaldo, Tibshirani and Wasserman, JASA 2018; Angelopoulos and Bates, arXiv 2107.07511, Section 1). Images that the
network was not trained on get a score, which says how far the truth lies from what the network said, in units of the
doubt that it said. With S_(k) the k-th smallest of their n scores and k = ceil((n + 1) coverage), a further image has

  P(score <= S_(k)) >= coverage,

and solving that for the truth gives the interval. It needs no assumption on the network. It needs the further image
to be exchangeable with the n: drawn alike, from the same source. The probability is over both draws, on average over
images: not for each kind of image by itself, not for all classes at once, and not on images from elsewhere.

Slices of one volume are not drawn one by one. Then the groups are exchangeable, and a further image is one of a
further group (Lee, Barber and Willett, arXiv 2306.06342): of K groups with n_g images each score has the weight
1 / ((K + 1) n_g), and the bound is the smallest score up to which the weights sum to the coverage.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from numbers import Real
from typing import NamedTuple

import numpy as np

from ddim_jax.labels import Labels

_SURE_AREA = 0.002  # of the pixels: the scale of the area's error where the network says that it has no doubt
_SURE_DICE = 0.02  # likewise of the Dice


class Statement(NamedTuple):
    """All that the network says of one class of one image, in pixels that count.

    Attributes:
      area: pixels of the mask.
      inner: pixels with a probability above (1 + coverage) / 2.
      outer: pixels with a probability above (1 - coverage) / 2. From `inner` to `outer` is the interval that the
        probability gives by itself, not calibrated.
      pixels: all of them.
      doubt: in [0, 1), see `ddim_jax.metrics.soft_dice_uncertainty`.
    """

    area: int
    inner: int
    outer: int
    pixels: int
    doubt: float


class Quantiles(NamedTuple):
    """The quantiles of the scores of one class: of its area and of its Dice."""

    area: float
    dice: float


class Bounds(NamedTuple):
    """The bounds of one class of one image.

    Attributes:
      area_low, area_high: in pixels; the true area lies between them.
      dice_low: in [0, 1]; the Dice of the mask is at least that.
      unlike: True if the image is unlike those of the calibration, so that these bounds are not made to hold for it;
        None: not judged.
    """

    area_low: float
    area_high: float
    dice_low: float
    unlike: bool | None = None


def check_coverage(coverage: float) -> Fraction:
    """The coverage as the fraction that its digits say: in floating point 0.9 is a little more.

    Raises:
      ValueError: it is not a number above 0 and below 1.
    """
    if isinstance(coverage, bool) or not isinstance(coverage, Real) or not 0 < coverage < 1:
        raise ValueError(f"coverage is {coverage!r}; expected a number above 0 and below 1")
    return Fraction(str(float(coverage)))


def images_needed(coverage: float) -> int:
    """The fewest scores, or groups of them, that have a quantile: ceil(1 / (1 - coverage)) - 1, 9 for 0.9.

    Raises:
      ValueError: as `check_coverage`.
    """
    return math.ceil(1 / (1 - check_coverage(coverage))) - 1


def conformal_quantile(scores: Sequence[float], coverage: float, groups: Sequence[str] | None = None) -> float:
    """The smallest score up to which the weights of the scores sum to the coverage; see above.

    Args:
      scores: [n].
      coverage: in (0, 1).
      groups: n names; None where each image is one by itself, which gives the k-th smallest score with
        k = ceil((n + 1) coverage).

    Raises:
      ValueError: there are too few groups, so that no bound holds for that share; a score is NaN; there are not as many
        names as scores; or as `check_coverage`.
    """
    scores = np.asarray(scores, np.float64)
    if groups is not None and len(groups) != len(scores):
        raise ValueError(f"there are {len(groups)} names of groups and {len(scores)} scores; expected as many")
    group = np.arange(len(scores)) if groups is None else np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(group)
    reached = (len(sizes) + 1) * check_coverage(coverage)
    if reached > len(sizes):
        what = "images" if len(sizes) == len(scores) else "groups of images (patients, folders, volumes)"
        raise ValueError(
            f"{len(sizes)} {what}; a coverage of {coverage} needs {images_needed(coverage)} to be calibrated"
        )
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    order = np.argsort(scores)
    sums = np.cumsum(1 / sizes[group[order]])
    return float(scores[order][np.searchsorted(sums, float(reached) - 1e-9)])


def class_statements(
    probability: np.ndarray,
    mask: np.ndarray,
    doubts: Sequence[float],
    coverage: float,
    labels: Labels = Labels(),
    valid: np.ndarray | None = None,
) -> list[Statement]:
    """The statement of each class.

    Args:
      probability: [H, W] in [0, 1], of several classes [H, W, K].
      mask: uint8 [H, W] as `ddim_jax.labels` has it, what was made of it.
      doubts: of each class.
      coverage: decides the levels of `inner` and `outer`.
      labels: the classes.
      valid: boolean [H, W], the pixels that count; None for all of them.
    """
    valid = np.ones(mask.shape, bool) if valid is None else valid
    statements = []
    for number, (doubt, of_class) in enumerate(zip(doubts, labels.maps(probability), strict=True), start=1):
        values = of_class[valid]
        statements.append(
            Statement(
                area=int(np.count_nonzero(labels.of_class(mask, number) & valid)),
                inner=int(np.count_nonzero(values > (1 + coverage) / 2)),
                outer=int(np.count_nonzero(values > (1 - coverage) / 2)),
                pixels=int(np.count_nonzero(valid)),
                doubt=float(doubt),
            )
        )
    return statements


def area_score(said: Statement, true_area: int) -> float:
    """|true area - area of the mask| / (half of the width between the level sets + a small share of the pixels)."""
    return abs(true_area - said.area) / _area_scale(said)


def dice_score(said: Statement, true_dice: float) -> float:
    """(expected Dice - true Dice) / (doubt + a small constant), with the expected Dice 1 - doubt."""
    return (1 - said.doubt - true_dice) / (said.doubt + _SURE_DICE)


def calibrated_bounds(said: Statement, quantiles: Quantiles) -> Bounds:
    """The areas and the lowest Dice whose scores are at most the quantiles, within what is possible at all.

    Raises:
      ValueError: a quantile is NaN.
    """
    if math.isnan(quantiles.area) or math.isnan(quantiles.dice):
        raise ValueError(f"a quantile is NaN: {quantiles}")
    margin = quantiles.area * _area_scale(said)
    return Bounds(
        area_low=max(0.0, said.area - margin),
        area_high=min(float(said.pixels), said.area + margin),
        dice_low=min(1.0, max(0.0, 1 - said.doubt - quantiles.dice * (said.doubt + _SURE_DICE))),
    )


def _area_scale(said: Statement) -> float:
    return (said.outer - said.inner) / 2 + _SURE_AREA * said.pixels

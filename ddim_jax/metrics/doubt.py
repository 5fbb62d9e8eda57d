"""The doubt about a mask, 1 - its expected Dice, and what makes it right on average."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ddim_jax.labels import Labels
from ddim_jax.runtime.values import is_number

_RANGE = 0.01, 100.0
_RANGE_OF_EMPTY = 1e-12, 1.0  # the pixels expected in a large image are the odds: up to a million of them


def soft_dice_uncertainty(probability: np.ndarray, mask: np.ndarray) -> float:
    """The doubt about a mask: the part of Dice that it is expected to miss if the probabilities are right.

    With p the probability of each pixel and m the mask,

      doubt = 1 - (2 sum p m + 1) / (sum p + sum m + 1)

    where sum p m is the expected number of true positives and sum p that of foreground pixels: the confidence of
    Borges, Pacheco and Silva (Soft Dice Confidence, arXiv 2402.10665), a ratio of expectations that they prove to be
    close to the expectation of the ratio where pixels are independent. It compares across sizes of masks; the spread of
    the samples, averaged over an image, does not, since it grows with the mask.

    One pixel of smoothing is added on both sides. A mask without a pixel has the doubt sum p / (sum p + 1): next to
    none where far less than one foreground pixel is expected, a half where one is, and nearly 1 where many are, also
    if it is a little probability everywhere that they add up from.

    Args:
      probability: float [h, w] in [0, 1], of the foreground.
      mask: [h, w] of 0 and 1 (or boolean), what was made of it.

    Returns:
      In [0, 1); 0 where every pixel is certain and the mask says the same.

    Raises:
      ValueError: the shapes differ, or are not [h, w] with at least one pixel, or a probability is NaN.
    """
    probability, mask = np.asarray(probability, np.float64), np.asarray(mask, bool)
    if probability.shape != mask.shape or probability.ndim != 2 or probability.size == 0:
        raise ValueError(
            f"probability and mask must be two maps [h, w] of one size; found {probability.shape} and {mask.shape}"
        )
    hit, expected, drawn = probability[mask].sum(), probability.sum(), np.count_nonzero(mask)
    if np.isnan(expected):
        raise ValueError("a probability is NaN")
    # The two sums of floats may round differently where they should cancel: never below 0.
    return float(max(0.0, 1.0 - (2.0 * hit + 1.0) / (expected + drawn + 1.0)))


class DoubtScale(NamedTuple):
    """The corrections that make the doubt right on average, fitted to images that were not trained on.

    Attributes:
      odds: the factor of the odds d / (1 - d) of the doubt d about a mask that has a pixel (`scale_doubt`).
      of_empty: for each class the chance that an empty mask is wrong for a reason that its probability does not show.
        Where the network is wrongly certain that there is nothing, only how often that happens can say so.
      odds_of_empty: for each class the factor of the odds of the doubt about an empty mask, at most 1. Where a little
        probability everywhere adds up to many pixels, the doubt is large though there is nothing.
    """

    odds: float
    of_empty: tuple[float, ...]
    odds_of_empty: tuple[float, ...]

    def of_image(self, doubts: Sequence[float], drawn: Sequence[bool]) -> float:
        """The doubt about a mask, the mean over its classes: d scaled, and of an empty one 1 - (1 - of_empty) (1 - d).

        Args:
          doubts: for each class, as the network has it (`ddim_jax.metrics.class_doubts`).
          drawn: for each class, if its mask has a pixel.
        """
        scaled = _scaled(np.asarray(doubts, np.float64), np.where(drawn, self.odds, self.odds_of_empty))
        return float((1 - (1 - np.where(drawn, 0.0, self.of_empty)) * (1 - scaled)).mean())

    def as_record(self, labels: Labels) -> dict[str, Any]:
        """The scale as `calibration.json` and `metrics.json` have it, for empty masks by the names of classes."""
        of_classes = {"of_empty": self.of_empty, "odds_of_empty": self.odds_of_empty}
        return {"odds": self.odds} | {
            name: dict(zip(labels.class_names, values, strict=True)) for name, values in of_classes.items()
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any], labels: Labels) -> "DoubtScale":
        """The scale of `as_record`; without `odds_of_empty`, as earlier versions wrote it, these are 1.

        Raises:
          KeyError, TypeError, ValueError: the record is none.
        """
        of_empty, factors = record["of_empty"], record.get("odds_of_empty", dict.fromkeys(labels.class_names, 1.0))
        found = cls(record["odds"], *(tuple(one[name] for name in labels.class_names) for one in (of_empty, factors)))
        numbers = all(is_number(value) for value in (found.odds, *found.of_empty, *found.odds_of_empty))
        if not numbers or not all(0 < value < math.inf for value in (found.odds, *found.odds_of_empty)):
            raise ValueError("no scale of a doubt")
        if not all(0 <= value <= 1 for value in found.of_empty):
            raise ValueError("no scale of a doubt")
        return found


def scale_doubt(doubt: ArrayLike, odds: float) -> np.ndarray:
    """The doubt with its odds d / (1 - d) multiplied by `odds`, float64, the same shape; 0 and 1 stay what they are.

    It rises with the doubt, so images keep their order.

    Raises:
      ValueError: a doubt is not in [0, 1], or the factor is not above 0 and finite.
    """
    doubt = check_unit_interval("doubt", doubt)
    check_factor("odds", odds)
    return _scaled(doubt, odds)


def _scaled(doubt: np.ndarray, odds: ArrayLike) -> np.ndarray:
    return odds * doubt / (1 - doubt + odds * doubt)


def fit_doubt(doubts: ArrayLike, drawn: ArrayLike, missed: ArrayLike) -> DoubtScale:
    """The scale at which masks are doubted as much, on average, as they miss of Dice.

    Masks that have a pixel share one factor. Of the n empty masks of a class, w of them wrong, doubted by m on average,
    the mean doubt becomes (w + min(m, 1/2)) / (n + 1): the rate of a Jeffreys prior, which does not by itself raise the
    doubt of a network that is sure. Larger doubt is lowered by `odds_of_empty`, smaller raised by `of_empty`, which is
    a half where no mask was empty.

    Args:
      doubts: about the mask of each class of each image, as the network has it, [N, K] in [0, 1].
      drawn: boolean [N, K], if that mask has a pixel.
      missed: [N, K], 1 - its Dice, in [0, 1].

    Returns:
      With `odds` from 0.01 to 100; where none reaches what is missed, the end that comes closer, and 1 where no mask
      has a pixel.

    Raises:
      ValueError: a doubt, or what is missed, is not in [0, 1], or the shapes differ.
    """
    doubts, missed = check_unit_interval("doubts", doubts), check_unit_interval("missed", missed)
    drawn = np.asarray(drawn, bool)
    if not doubts.shape == drawn.shape == missed.shape or doubts.ndim != 2:
        raise ValueError(f"expected three arrays [N, K]; found {doubts.shape}, {drawn.shape} and {missed.shape}")
    classes = zip(doubts.T, drawn.T, missed.T, strict=True)
    of_empty, odds_of_empty = zip(*(_fit_empty(own[~has], lost[~has]) for own, has, lost in classes), strict=True)
    odds = _fit_odds(doubts[drawn], missed[drawn].mean(), _RANGE) if drawn.any() else 1.0
    return DoubtScale(odds, of_empty, odds_of_empty)


def _fit_empty(doubts: np.ndarray, missed: np.ndarray) -> tuple[float, float]:
    """`of_empty` and `odds_of_empty` of the empty masks of a class."""
    if not doubts.size:
        return 0.5, 1.0
    own = doubts.mean()
    expected = (np.count_nonzero(missed) + min(own, 0.5)) / (doubts.size + 1)
    if expected < own:
        return 0.0, _fit_odds(doubts, expected, _RANGE_OF_EMPTY)
    return float(1 - (1 - expected) / (1 - own)) if own < 1 else 0.0, 1.0


def _fit_odds(doubts: np.ndarray, mean: float, limits: tuple[float, float]) -> float:
    """The factor of the odds at which the doubts have this mean, or the limit that comes closer."""
    from scipy.optimize import brentq  # not at the head: few need it, and it takes long to import

    def difference(log_odds: float) -> float:
        return float(_scaled(doubts, np.exp(log_odds)).mean() - mean)

    low, high = np.log(limits)
    if difference(low) >= 0 or difference(high) <= 0:
        return limits[0] if difference(low) >= 0 else limits[1]
    return float(np.exp(brentq(difference, low, high)))


def check_unit_interval(name: str, values: ArrayLike) -> np.ndarray:
    """The values as float64; raises ValueError where one is not in [0, 1], NaN included."""
    values = np.asarray(values, np.float64)
    wrong = values[~((values >= 0) & (values <= 1))]
    if wrong.size:
        raise ValueError(f"{name} has {wrong[0]:g}, the first of {wrong.size} such values; expected them in [0, 1]")
    return values


def check_factor(name: str, value: float) -> None:
    """Raises ValueError for what is not above 0 and finite."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value!r}; expected a finite number above 0")

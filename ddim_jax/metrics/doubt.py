"""The doubt about a mask, 1 - its expected Dice, and what makes it right on average."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ddim_jax.labels import Labels
from ddim_jax.runtime.values import is_number

_RANGE = 0.01, 100.0


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
      ValueError: the shapes differ, or are not [h, w] with at least one pixel.
    """
    probability, mask = np.asarray(probability, np.float64), np.asarray(mask, bool)
    if probability.shape != mask.shape or probability.ndim != 2 or probability.size == 0:
        raise ValueError(
            f"probability and mask must be two maps [h, w] of one size; found {probability.shape} and {mask.shape}"
        )
    hit, expected, drawn = probability[mask].sum(), probability.sum(), np.count_nonzero(mask)
    # The two sums of floats may round differently where they should cancel: never below 0.
    return float(max(0.0, 1.0 - (2.0 * hit + 1.0) / (expected + drawn + 1.0)))


class DoubtScale(NamedTuple):
    """The two corrections that make the doubt right on average, fitted to images that were not trained on.

    Attributes:
      odds: the factor of the odds d / (1 - d) of the doubt d about a mask that has a pixel (`scale_doubt`).
      of_empty: for each class the chance that an empty mask is wrong for a reason that its probability does not show.
        Where the network is wrongly certain that there is nothing, only how often that happens can say so.
    """

    odds: float
    of_empty: tuple[float, ...]

    def of_image(self, doubts: Sequence[float], drawn: Sequence[bool]) -> float:
        """The doubt about a mask, the mean over its classes: scaled, or of an empty one 1 - (1 - of_empty) (1 - d).

        Args:
          doubts: for each class, as the network has it (`ddim_jax.metrics.class_doubts`).
          drawn: for each class, if its mask has a pixel.
        """
        doubts = np.asarray(doubts, np.float64)
        empty = 1 - (1 - np.asarray(self.of_empty)) * (1 - doubts)
        return float(np.where(drawn, scale_doubt(doubts, self.odds), empty).mean())

    def as_record(self, labels: Labels) -> dict[str, Any]:
        """The scale as `calibration.json` and `metrics.json` have it, `of_empty` by the names of the classes."""
        return {"odds": self.odds, "of_empty": dict(zip(labels.class_names, self.of_empty, strict=True))}

    @classmethod
    def from_record(cls, record: Mapping[str, Any], labels: Labels) -> "DoubtScale":
        """The scale of `as_record`.

        Raises:
          KeyError, TypeError, ValueError: the record is none.
        """
        found = cls(record["odds"], tuple(record["of_empty"][name] for name in labels.class_names))
        numbers = all(is_number(value) for value in (found.odds, *found.of_empty))
        if not numbers or not 0 < found.odds < math.inf or not all(0 <= value <= 1 for value in found.of_empty):
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
    return odds * doubt / (1 + (odds - 1) * doubt)


def fit_doubt(doubts: ArrayLike, drawn: ArrayLike, missed: ArrayLike) -> DoubtScale:
    """The scale at which masks that have a pixel are doubted as much, on average, as they miss of Dice.

    Of the n empty masks of a class, w of them wrong, the average doubt becomes (w + 1) / (n + 2) (Laplace's rule of
    succession), or stays what it is where that is larger. They take no part in `odds`: of many that are right, the
    prior alone adds up to an image's whole doubt, which the others would have to make good.

    Args:
      doubts: about the mask of each class of each image, as the network has it, [N, K] in [0, 1].
      drawn: boolean [N, K], if that mask has a pixel.
      missed: [N, K], 1 - its Dice, in [0, 1].

    Returns:
      With `odds` from 0.01 to 100; where none reaches what is missed, the end that comes closer, and 1 where no mask
      has a pixel.

    Raises:
      ValueError: a doubt, or what is missed, is not in [0, 1].
    """
    from scipy.optimize import brentq  # not at the head: few need it, and it takes long to import

    doubts, missed = check_unit_interval("doubts", doubts), check_unit_interval("missed", missed)
    drawn = np.asarray(drawn, bool)
    empty = (~drawn).sum(axis=0)
    wrong = (~drawn & (missed > 0)).sum(axis=0)
    sure = np.where(empty > 0, (1 - doubts).sum(axis=0, where=~drawn) / np.maximum(empty, 1), 1.0)
    right = (empty - wrong + 1) / (empty + 2)
    of_empty = tuple((1 - np.minimum(right / np.maximum(sure, right), 1)).tolist())
    if not drawn.any():
        return DoubtScale(1.0, of_empty)

    def difference(log_odds: float) -> float:
        return float((scale_doubt(doubts[drawn], np.exp(log_odds)) - missed[drawn]).mean())

    low, high = np.log(_RANGE)
    if difference(low) >= 0 or difference(high) <= 0:
        return DoubtScale(_RANGE[0] if difference(low) >= 0 else _RANGE[1], of_empty)
    return DoubtScale(float(np.exp(brentq(difference, low, high))), of_empty)


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

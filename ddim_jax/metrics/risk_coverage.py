"""Risk and coverage: the Dice of the images that are left when the most doubtful are handed to a person.

This is the risk-coverage curve of selective prediction (El-Yaniv and Wiener, JMLR 2010) with Dice in the place of the
risk: coverage is the share of the images that are kept. It shows how well doubt predicts error.
"""

from typing import NamedTuple

import numpy as np

KEPT_SHARE = (4, 5)  # as a fraction, since 0.8 n in floating point can land above a whole number


class RiskCoverage(NamedTuple):
    """The images that are kept as they are removed one by one, most doubtful first.

    Attributes:
      coverages: float64 [n], the share kept: 1, (n - 1)/n, ..., 1/n.
      dice: float64 [n], mean Dice of the images kept.
      best_dice: float64 [n], the same for the best order there is, lowest Dice first.
      area: mean of `dice` over the coverages, the area under the curve.
      best_area: mean of `best_dice`.
      unordered_area: the same for images removed in no order: at every coverage the plain mean of Dice.
      gain: (area - unordered_area) / (best_area - unordered_area): 1 for the best order, about 0 where doubt says
        nothing, below 0 where it misleads. None where all Dice are equal, so that there is nothing to gain.
      kept_images: ceil(0.8 n).
      kept_dice: `dice` with that many images kept.
    """

    coverages: np.ndarray
    dice: np.ndarray
    best_dice: np.ndarray
    area: float
    best_area: float
    unordered_area: float
    gain: float | None
    kept_images: int
    kept_dice: float


def risk_coverage(doubts: np.ndarray, dice: np.ndarray) -> RiskCoverage:
    """The Dice of the rest as the most doubtful images are removed one by one.

    Images of equal doubt could be removed in any order; the curve is its mean over all of these orders.

    Args:
      doubts: [n], one number per image, larger is more doubtful.
      dice: [n], of the same images.

    Raises:
      ValueError: no image, lists of two lengths, or a value that is not finite.
    """
    doubts, dice = np.asarray(doubts, np.float64), np.asarray(dice, np.float64)
    if doubts.shape != dice.shape or doubts.ndim != 1 or doubts.size == 0:
        raise ValueError(
            f"doubts and dice must be two lists of one number per image; found shapes {doubts.shape} and {dice.shape}"
        )
    if not (np.isfinite(doubts).all() and np.isfinite(dice).all()):
        raise ValueError("doubts and dice must be finite; found NaN or infinity")
    # The mean over all orders of tied images: wherever one of them stands, it counts as the mean of its group.
    _, group = np.unique(doubts, return_inverse=True)
    tied = (np.bincount(group, dice) / np.bincount(group))[group]
    count = len(dice)
    kept = _means_of_the_rest(tied[np.argsort(doubts)])
    best = _means_of_the_rest(np.sort(dice)[::-1])
    mean = float(dice.mean())
    area, best_area = float(kept.mean()), float(best.mean())
    differ = np.ptp(dice) > 0 and best_area > mean  # where all are equal, the second is a matter of rounding
    kept_images = -(-KEPT_SHARE[0] * count // KEPT_SHARE[1])
    return RiskCoverage(
        coverages=np.arange(count, 0, -1) / count,
        dice=kept,
        best_dice=best,
        area=area,
        best_area=best_area,
        unordered_area=mean,
        gain=(area - mean) / (best_area - mean) if differ else None,
        kept_images=kept_images,
        kept_dice=float(kept[count - kept_images]),
    )


def _means_of_the_rest(ordered: np.ndarray) -> np.ndarray:
    """[n] -> means of the first n, n - 1, ..., 1 of them."""
    return (np.cumsum(ordered) / np.arange(1, len(ordered) + 1))[::-1]

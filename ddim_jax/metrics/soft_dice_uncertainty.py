"""The doubt about a mask in one number, without the truth."""

import numpy as np


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

"""STAPLE (Warfield, Zou and Wells, IEEE Transactions on Medical Imaging 2004): the truth behind several masks.

Each mask is the work of a rater whose sensitivity and specificity are not known. Expectation-maximisation finds both
and, with them, the probability of each pixel to be foreground.
"""

from typing import NamedTuple

import numpy as np

from ddim_jax.aggregation.ensemble import of_masks
from ddim_jax.registry import register

MAX_ITERATIONS = 10_000
_TOLERANCE = 1e-12  # of the log-likelihood of a pixel, on average, between two iterations
_SMALLEST = 1e-300  # in place of 0, whose logarithm is not finite


class Staple(NamedTuple):
    """The result of STAPLE.

    Attributes:
      probability: float64 [...], of each pixel to be foreground, given all masks.
      sensitivity: float64 [raters], the share of the foreground that each rater marks.
      specificity: float64 [raters], the share of the background that each rater leaves out.
      log_likelihood: of the masks under these, the maximum that was found.
      iterations: those done; `MAX_ITERATIONS` where it did not settle.
    """

    probability: np.ndarray
    sensitivity: np.ndarray
    specificity: np.ndarray
    log_likelihood: float
    iterations: int


def staple(masks: np.ndarray, counts: np.ndarray | None = None) -> Staple:
    """Fuses binary masks.

    With D the masks, f the prior, p and q the raters' sensitivities and specificities, an iteration is

      p_j = sum_i W_i D_ij / sum_i W_i
      q_j = sum_i (1 - W_i) (1 - D_ij) / sum_i (1 - W_i)
      W_i = f prod_j p_j^D_ij (1 - p_j)^(1 - D_ij) / (that + (1 - f) prod_j q_j^(1 - D_ij) (1 - q_j)^D_ij)

    (the paper's Eq. 18, 19 and 14 to 16). It starts from W_i, the mean of the votes of pixel i, since a start from
    raters that are nearly always right stays at their majority; it ends when the log-likelihood, which never falls,
    rises by less than 1e-12 a pixel. The prior f is the same for every pixel: the mean of all masks over pixels and
    raters. There is no term for neighbouring pixels.

    Args:
      masks: [raters, ...] of 0 and 1, one rater or more, any dtype.
      counts: [...], how many pixels with these votes there are, in all the sums; None for one each. Pixels with the
        same votes have the same W, so an image is as many different votes as there are (at most 2^raters).

    Returns:
      Staple. Where the raters see no foreground at all, or nothing else, the probability is 0 or 1 throughout.
    """
    votes = masks.reshape(masks.shape[0], -1).astype(np.float64)
    counts = np.ones(votes.shape[1]) if counts is None else counts.reshape(-1).astype(np.float64)
    pixels = counts.sum()
    prior = float((votes @ counts).mean() / pixels)
    if prior in (0.0, 1.0):  # nothing to learn about the raters
        certain = np.ones(len(votes))
        return Staple(np.full(masks.shape[1:], prior), certain, certain, 0.0, 0)

    from scipy.special import expit  # not at the head: few need it, and it takes long to import

    weights, before = votes.mean(axis=0), -np.inf
    for iterations in range(1, MAX_ITERATIONS + 1):  # noqa: B007 - returned
        inside, outside = counts * weights, counts * (1.0 - weights)
        sensitivity = votes @ inside / inside.sum()
        specificity = (1.0 - votes) @ outside / outside.sum()
        foreground = np.log(prior) + _log(sensitivity) @ votes + _log(1.0 - sensitivity) @ (1.0 - votes)
        background = np.log1p(-prior) + _log(1.0 - specificity) @ votes + _log(specificity) @ (1.0 - votes)
        weights = expit(foreground - background)
        likelihood = float(counts @ np.logaddexp(foreground, background))
        if likelihood - before < _TOLERANCE * pixels:
            break
        before = likelihood
    return Staple(weights.reshape(masks.shape[1:]), sensitivity, specificity, likelihood, iterations)


def _log(value: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(value, _SMALLEST))


@register.ensemble("staple")
@of_masks
def staple_probability(masks: np.ndarray) -> np.ndarray:
    """The masks that the protocol makes of each sample, fused by STAPLE (expectation-maximisation), cut at 0.5.

    The result is the probability of the mask behind them, by `staple` on the different votes and their counts.
    """
    packed = np.packbits(masks.reshape(len(masks), -1), axis=0)
    # Of numbers, as which eight masks fit in, NumPy finds the different ones much faster than of columns.
    values, axis = (packed[0], None) if len(packed) == 1 else (packed, 1)
    values, inverse, counts = np.unique(values, axis=axis, return_inverse=True, return_counts=True)
    votes = np.unpackbits(values.reshape(len(packed), -1), axis=0, count=len(masks))
    return staple(votes, counts).probability[inverse.reshape(masks.shape[1:])]

"""STAPLE (Warfield, Zou and Wells, IEEE Transactions on Medical Imaging 2004): the truth behind several masks.

Each mask is the work of a rater whose sensitivity and specificity are not known. Expectation-maximisation finds both
and, with them, the probability of each pixel to be foreground.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

MAX_ITERATIONS = 200
_TOLERANCE = 1e-5  # of sensitivities and specificities between two iterations; float32 sums settle no finer
_START = 0.99999  # of both: the raters are taken to be good until they disagree, as the authors advise
_SURE = 1e-6  # nobody is taken to be right, or wrong, for certain: its logarithm has to be finite


# On GPUs a float32 product has ten bits by default: too few for counts of pixels, and for sums that are to settle.
_dot = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


class Staple(NamedTuple):
    """What STAPLE finds.

    Attributes:
      probability: float32 [...], of each pixel to be foreground, given all masks.
      sensitivity: float32 [raters], the share of the foreground that each rater marks.
      specificity: float32 [raters], the share of the background that each rater leaves out.
      iterations: int32, those done; `MAX_ITERATIONS` where it did not settle.
    """

    probability: jax.Array
    sensitivity: jax.Array
    specificity: jax.Array
    iterations: jax.Array


def staple(masks: jax.Array, counts: jax.Array | None = None) -> Staple:
    """Fuses binary masks. A pure function, for use inside or outside `jax.jit`.

    With D the masks, f the prior, p and q the raters' sensitivities and specificities, an iteration is

      W_i = f prod_j p_j^D_ij (1 - p_j)^(1 - D_ij) / (that + (1 - f) prod_j q_j^(1 - D_ij) (1 - q_j)^D_ij)
      p_j = sum_i W_i D_ij / sum_i W_i
      q_j = sum_i (1 - W_i) (1 - D_ij) / sum_i (1 - W_i)

    (the paper's Eq. 14 to 19), from p = q = 0.99999 until none of them moves by more than 1e-5. The prior f is the same
    for every pixel: the mean of all masks over pixels and raters. There is no term for neighbouring pixels.

    Args:
      masks: [raters, ...] of 0 and 1, one rater or more, any dtype.
      counts: [...], how many pixels with these votes there are, in all the sums; None for one each. Pixels with the
        same votes have the same W, so a picture is as many different votes as there are (at most 2^raters).

    Returns:
      Staple. Where the raters see no foreground at all, or nothing else, the probability is 0 or 1 throughout.
    """
    votes = masks.reshape(masks.shape[0], -1).astype(jnp.float32)
    counts = jnp.ones(votes.shape[1]) if counts is None else counts.reshape(-1).astype(jnp.float32)
    prior = jnp.minimum(jnp.sum(_dot(votes, counts)) / (votes.shape[0] * jnp.sum(counts)), 1.0)  # sums round

    def expectation(p, q):
        agree, disagree = jnp.log(p) - jnp.log1p(-q), jnp.log1p(-p) - jnp.log(q)
        evidence = _dot(agree, votes) + _dot(disagree, 1.0 - votes)
        return jax.nn.sigmoid(jnp.log(prior) - jnp.log1p(-prior) + evidence)

    def maximisation(probability, p, q):
        probability, background = counts * probability, counts * (1.0 - probability)
        inside, outside = jnp.sum(probability), jnp.sum(background)
        # Without foreground nothing is learnt of the sensitivities, without background nothing of the specificities.
        new_p = jnp.where(inside > 0.0, _dot(votes, probability) / jnp.maximum(inside, 1e-30), p)
        new_q = jnp.where(outside > 0.0, _dot(1.0 - votes, background) / jnp.maximum(outside, 1e-30), q)
        return jnp.clip(new_p, _SURE, 1.0 - _SURE), jnp.clip(new_q, _SURE, 1.0 - _SURE)

    def unsettled(state):
        _, _, change, iteration = state
        return (change > _TOLERANCE) & (iteration < MAX_ITERATIONS)

    def iterate(state):
        p, q, _, iteration = state
        new_p, new_q = maximisation(expectation(p, q), p, q)
        change = jnp.maximum(jnp.max(jnp.abs(new_p - p)), jnp.max(jnp.abs(new_q - q)))
        return new_p, new_q, change, iteration + 1

    start = jnp.full(votes.shape[0], _START)
    p, q, _, iterations = jax.lax.while_loop(unsettled, iterate, (start, start, jnp.float32(jnp.inf), jnp.int32(0)))
    return Staple(expectation(p, q).reshape(masks.shape[1:]), p, q, iterations)

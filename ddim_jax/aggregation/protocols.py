"""The two ways to turn the samples of an image into a mask, scored side by side.

`paper` is the protocol of Oh and Gonsalves (2025): the mean of the samples is stretched to [0, 1] by its own minimum
and maximum and cut at 0.9. Where nothing is there, it stretches noise into foreground; it is kept to compare with their
numbers. `mean` clips each sample to [-1, 1], reads it as a probability, takes the mean and cuts at 0.5.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ddim_jax.aggregation.fusion import mean_probability, mean_sample
from ddim_jax.labels import Labels

# A smaller spread in a map of values about [-1, 1] is float32 rounding, and stretching it would draw a mask from that.
FLAT = 1e-6


@dataclass(frozen=True)
class Protocol:
    """A rule that makes a probability map of the samples of one image, and the threshold of that map.

    Attributes:
      name: the key in `PROTOCOLS`.
      threshold: pixels with a probability strictly above it are foreground.
      rule: what `probability` does, in words, for the result files.
      probability: samples [S, h, w] (estimates of x_0, about [-1, 1], unclipped) -> float32 [h, w] in [0, 1]; raises
        ValueError without a sample, for another shape, or for a value that is not finite.
      in_jax: the same for JAX arrays, in float32 and without the checks, for exported programs.
    """

    name: str
    threshold: float
    rule: str
    probability: Callable[[np.ndarray], np.ndarray]
    in_jax: Callable[[jax.Array], jax.Array]


def _min_max_probability(samples: np.ndarray) -> np.ndarray:
    mean = mean_sample(samples)
    low, high = float(mean.min()), float(mean.max())
    if high - low < FLAT:
        return mean_probability(samples)
    # Divided in float64: the maximum must become exactly 1, and an unclipped map can span more than float32 resolves.
    return ((mean.astype(np.float64) - low) / (high - low)).astype(np.float32)


def _mean_in_jax(samples: jax.Array) -> jax.Array:
    return jnp.mean((jnp.clip(samples, -1.0, 1.0) + 1.0) / 2.0, axis=0)


def _min_max_in_jax(samples: jax.Array) -> jax.Array:
    mean = jnp.mean(samples, axis=0)
    low, high = jnp.min(mean), jnp.max(mean)
    flat = high - low < FLAT
    return jnp.where(flat, _mean_in_jax(samples), (mean - low) / jnp.where(flat, 1.0, high - low))


PROTOCOLS = {
    "paper": Protocol(
        name="paper",
        threshold=0.9,
        rule=(
            "mean of the unclipped samples, stretched to [0, 1] by its own minimum and maximum; a flat mean (range "
            "below 1e-6) is not stretched but mapped as in the protocol 'mean'"
        ),
        probability=_min_max_probability,
        in_jax=_min_max_in_jax,
    ),
    "mean": Protocol(
        name="mean",
        threshold=0.5,
        rule="each sample clipped to [-1, 1] and mapped to [0, 1], then the mean",
        probability=mean_probability,
        in_jax=_mean_in_jax,
    ),
}


def threshold_mask(probability: np.ndarray, threshold: float | None, labels: Labels = Labels()) -> np.ndarray:
    """Makes a mask of a probability: where a probability becomes a class.

    Args:
      probability: float [H, W] in [0, 1], of several classes [H, W, K].
      threshold: in [0, 1]; None, for exclusive classes alone, takes the likeliest, with the background at 1 minus their
        sum.
      labels: the classes.

    Returns:
      uint8 [H, W] as `ddim_jax.labels` has it: 1 where the probability is strictly above the threshold, else 0; of
      exclusive classes the likeliest where it is, else 0; of others bit k - 1 where that of class k is.
    """
    if not labels.several:
        return (probability > threshold).astype(np.uint8)
    if labels.multilabel:
        return ((probability > threshold) << np.arange(labels.count, dtype=np.uint8)).sum(axis=-1, dtype=np.uint8)
    likeliest = probability.max(axis=-1)
    # Not by rounding alone: where votes are equal, the background is kept.
    above = 1.0 - probability.sum(axis=-1) + FLAT if threshold is None else threshold
    return np.where(likeliest > above, probability.argmax(axis=-1) + 1, 0).astype(np.uint8)

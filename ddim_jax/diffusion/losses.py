"""The overlap loss that segmentation networks are trained with, ignored pixels, and the weight of each timestep."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from ddim_jax.labels import Labels
from ddim_jax.registry import LOSSES

MIN_SNR_GAMMA = 5.0
MSE = "mse"
"""The loss of the paper, the one that does not compare masks."""


class LossNames:
    """The names of `diffusion.loss`: mse and those of `ddim_jax.registry.LOSSES`, as they are when it is looked at."""

    def __iter__(self) -> Iterator[str]:
        return iter((MSE, *LOSSES))

    def __contains__(self, name: object) -> bool:
        return name == MSE or name in LOSSES


def cross_entropy_dice(logits: jax.Array, x0: jax.Array, labels: Labels = Labels()) -> jax.Array:
    """Cross-entropy (mean over the pixels) plus 1 - soft Dice (mean over the classes) of each example.

    Binary for one class and for classes that may overlap, a logit for each; softmax for exclusive ones. The background
    has no Dice. Pixels that are ignored are in neither.

    Args:
      logits: float32 [batch, H, W, C] of "this pixel is of that channel".
      x0: the truth, the shape of `logits`, as `ddim_jax.preprocessing.normalise_mask` makes it.
      labels: the classes.

    Returns:
      float32 [batch].
    """
    truth, valid = (x0 + 1.0) / 2.0, valid_pixels(x0, labels)
    if labels.exclusive:
        log_probability = jax.nn.log_softmax(logits)
        entropy = -jnp.sum(truth * log_probability, axis=-1, keepdims=True)
        probability, truth = jnp.exp(log_probability)[..., 1:], truth[..., 1:]
    else:
        # optax.sigmoid_binary_cross_entropy, written out: segmenting does not import optax, which takes long.
        entropy = jnp.maximum(logits, 0.0) - logits * truth + jnp.log1p(jnp.exp(-jnp.abs(logits)))
        probability = jax.nn.sigmoid(logits)
    if valid is not None:
        probability, truth = probability * valid, truth * valid
    overlap = _sum_over_pixels(probability * truth)
    # The 1 in both places makes an empty mask met by an empty prediction a Dice of one instead of 0/0.
    dice = (2.0 * overlap + 1.0) / (_sum_over_pixels(probability) + _sum_over_pixels(truth) + 1.0)
    return mean_over_pixels(entropy, valid) + 1.0 - jnp.mean(dice, axis=-1)


def mask_of_logits(logits: jax.Array, labels: Labels = Labels()) -> jax.Array:
    """The estimate of x_0 in [-1, 1] whose probability is the sigmoid or, of exclusive classes, the softmax."""
    if labels.exclusive:
        return 2.0 * jax.nn.softmax(logits) - 1.0
    return jnp.tanh(logits / 2.0)  # 2 sigmoid(l) - 1


def valid_pixels(x0: jax.Array, labels: Labels) -> jax.Array | None:
    """float32 [batch, H, W, 1], 1 for pixels that count and 0 for ignored ones; None where all count."""
    return (x0[..., :1] != 0.0).astype(x0.dtype) if labels.ignore else None


def mean_over_pixels(values: jax.Array, valid: jax.Array | None) -> jax.Array:
    """The mean of [batch, H, W, C] over the pixels that count and the channels: [batch]; 0 where none counts."""
    if valid is None:
        return jnp.mean(_sum_over_pixels(values), axis=-1) / (values.shape[1] * values.shape[2])
    pixels = jnp.maximum(jnp.sum(valid, axis=(1, 2, 3)), 1.0)
    return jnp.mean(_sum_over_pixels(values * valid), axis=-1) / pixels


def _sum_over_pixels(values: jax.Array) -> jax.Array:
    """[batch, H, W, C] -> [batch, C], as a product with ones.

    A sum is joined by XLA with the logarithm before it, and on a CPU that takes ten times as long.
    """
    ones = jnp.ones(values.shape[1:3], values.dtype)
    return jnp.einsum("bhwc,hw->bc", values, ones, precision=jax.lax.Precision.HIGHEST)


def min_snr_weights(snr: np.ndarray, prediction: str) -> np.ndarray:
    """Min-SNR-gamma weights (Hang et al., ICCV 2023, arXiv 2303.09556) with their gamma of 5.

    The squared error of x_0 is weighted by min(SNR, gamma). The squared errors of the noise and of v at one x_t are SNR
    and SNR + 1 times that of x_0, so their weights are divided by these and all three make the same loss.

    Args:
      snr: float64 [T], the signal-to-noise ratio of each timestep; above 0 where the noise is predicted.
      prediction: one of `PREDICTIONS`.

    Returns:
      float64 [T], the factor of the loss at each timestep.
    """
    x0_weight = np.minimum(snr, MIN_SNR_GAMMA)
    if prediction == "noise":
        return x0_weight / snr
    return x0_weight if prediction == "x0" else x0_weight / (snr + 1.0)

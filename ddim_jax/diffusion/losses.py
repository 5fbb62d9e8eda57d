"""Parts of losses: their names, the mask that logits stand for, ignored pixels, and the weight of each timestep."""

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

    def imports(self, name: object) -> list[str]:
        """Returns what `Registry.imports` does; mse comes of no module."""
        return LOSSES.imports(name)


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
        return jnp.mean(sum_over_pixels(values), axis=-1) / (values.shape[1] * values.shape[2])
    pixels = jnp.maximum(jnp.sum(valid, axis=(1, 2, 3)), 1.0)
    return jnp.mean(sum_over_pixels(values * valid), axis=-1) / pixels


def sum_over_pixels(values: jax.Array) -> jax.Array:
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

"""The overlap loss that segmentation networks are trained with, and the weight of each timestep's loss."""

import jax
import jax.numpy as jnp
import numpy as np

MIN_SNR_GAMMA = 5.0


def bce_dice(logits: jax.Array, truth: jax.Array) -> jax.Array:
    """Binary cross-entropy (mean over the pixels) plus 1 - soft Dice of each example.

    Args:
      logits: float32 [batch, H, W, 1] of "this pixel is in the mask".
      truth: float32, the shape of `logits`, values in {0, 1}.

    Returns:
      float32 [batch].
    """
    axes = (1, 2, 3)
    bce = jnp.mean(jnp.maximum(logits, 0.0) - logits * truth + jnp.log1p(jnp.exp(-jnp.abs(logits))), axis=axes)
    probability = jax.nn.sigmoid(logits)
    overlap = jnp.sum(probability * truth, axis=axes)
    # The 1 in both places makes an empty mask met by an empty prediction a Dice of one instead of 0/0.
    dice = (2.0 * overlap + 1.0) / (jnp.sum(probability, axis=axes) + jnp.sum(truth, axis=axes) + 1.0)
    return bce + 1.0 - dice


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

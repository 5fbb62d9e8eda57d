"""Cross-entropy and soft Dice, the loss of segmentation networks."""

import jax
import jax.numpy as jnp

from ddim_jax.diffusion.losses import mean_over_pixels, sum_over_pixels, valid_pixels
from ddim_jax.labels import Labels
from ddim_jax.registry import register


@register.loss("bce_dice")
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
    overlap = sum_over_pixels(probability * truth)
    # The 1 in both places makes an empty mask met by an empty prediction a Dice of one instead of 0/0.
    dice = (2.0 * overlap + 1.0) / (sum_over_pixels(probability) + sum_over_pixels(truth) + 1.0)
    return mean_over_pixels(entropy, valid) + 1.0 - jnp.mean(dice, axis=-1)

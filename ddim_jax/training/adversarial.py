"""Pictures that raise the loss, to train on: FGSM from a random start (Wong et al. 2020, arXiv 2001.03994)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

_STEP = 1.25  # of epsilon, as the paper has it


def start_of(key: jax.Array, image: jax.Array) -> jax.Array:
    """Draws the start of the step, in [-1, 1] times epsilon, the shape of `image`."""
    return jax.random.uniform(key, image.shape, minval=-1.0, maxval=1.0)


def adversarial(
    loss: Callable[[jax.Array], jax.Array], image: jax.Array, start: jax.Array, epsilon: float
) -> jax.Array:
    """Pictures within epsilon of `image` whose loss is larger: one step of 1.25 epsilon along its gradient's signs.

    Args:
      loss: of pictures, a scalar.
      image: float32 [batch, H, W, 3] in [-1, 1]; values that lie beyond, as augmentation makes them, are clipped.
      start: [batch, H, W, 3] in [-1, 1], as `start_of` draws it.
      epsilon: the largest change; 1 is from black to white, two units here.

    Returns:
      float32 [batch, H, W, 3] in [-1, 1]; no gradient goes through it.
    """
    bound = 2.0 * epsilon
    image = jnp.clip(image, -1.0, 1.0)
    seen = jnp.clip(image + bound * start, -1.0, 1.0)
    seen += _STEP * bound * jnp.sign(jax.grad(loss)(seen))
    return jax.lax.stop_gradient(jnp.clip(jnp.clip(seen, image - bound, image + bound), -1.0, 1.0))

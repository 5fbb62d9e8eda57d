"""What is compiled for one image: its samples, each from noise of its own, in the orientations they see it in."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ddim_jax.preprocessing import ORIENTATIONS, mirrored, normalise
from ddim_jax.sampling_options import SamplingOptions


def sample_image(
    process: Any,
    apply: Callable[..., jax.Array],
    params: Any,
    image: jax.Array,
    seed: jax.Array,
    identity: jax.Array,
    *,
    options: SamplingOptions,
    return_trajectory: bool = False,
) -> Any:
    """Samples masks of one image.

    Args:
      process: as `ddim_jax.models.create_process` makes it.
      apply: the network, (params, noisy_mask, image, t) -> prediction, or (params, image) -> mask without diffusion.
      params: its weights.
      image: uint8 [h, w, 3].
      seed: uint32 [], of the noise.
      identity: uint32 [], of the image; with the seed it decides the noise.
      options: how to sample; its seed is not read.
      return_trajectory: for the first sample alone, what was visited on the way.

    Returns:
      float32 [samples, h, w], estimates of x_0; with the trajectory the pair (x_t [steps + 1, h, w], x0 [steps, h, w]).
    """
    own = jax.random.fold_in(jax.random.key(seed), identity)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(own, jnp.arange(options.samples, dtype=jnp.uint32))
    start_keys, step_keys = jnp.unstack(jax.vmap(jax.random.split)(keys), axis=1)
    noise = jax.vmap(lambda key: jax.random.normal(key, (*image.shape[:2], 1), jnp.float32))(start_keys)
    image = normalise(image)
    orientation = np.arange(options.samples) % ORIENTATIONS if options.flips else np.zeros(options.samples, int)
    images = jnp.stack([mirrored(image, k) for k in range(ORIENTATIONS)])[orientation]
    # Each sample has a key of its own, so that it is the same whatever their number.
    drawn = process.sample(apply, params, images, noise, options, key=step_keys, return_trajectory=return_trajectory)
    if return_trajectory:
        _, visited = drawn
        return visited.x_t[:, 0, :, :, 0], visited.x0[:, 0, :, :, 0]
    masks = drawn[..., 0]
    back = jnp.stack([jax.vmap(lambda mask, k=k: mirrored(mask, k))(masks) for k in range(ORIENTATIONS)])
    return back[orientation, np.arange(options.samples)]

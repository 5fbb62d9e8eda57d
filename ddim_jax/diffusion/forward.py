"""The forward process q(x_t | x_0)."""

import jax
import jax.numpy as jnp
import numpy as np

from ddim_jax.diffusion.schedule import Schedule


def signal_and_noise_rates(
    t: jax.Array, schedule: Schedule, ndim: int, dtype=jnp.float32
) -> tuple[jax.Array, jax.Array]:
    """sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t) for t [batch], each of shape [batch, 1, ..., 1] with `ndim` axes."""
    shape = (-1,) + (1,) * (ndim - 1)
    signal = jnp.asarray(np.sqrt(schedule.alpha_bars), dtype)[t].reshape(shape)
    noise = jnp.asarray(np.sqrt(1.0 - schedule.alpha_bars), dtype)[t].reshape(shape)
    return signal, noise


def add_noise(x0: jax.Array, noise: jax.Array, t: jax.Array, schedule: Schedule) -> jax.Array:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps (the paper's Eq. 1).

    Args:
      x0: clean masks, [batch, ...], float.
      noise: standard normal noise, the shape of `x0`.
      t: int [batch], in 0 .. T-1.
      schedule: the noise schedule.

    Returns:
      Noisy masks, shape and dtype of `x0`.
    """
    signal_rate, noise_rate = signal_and_noise_rates(t, schedule, x0.ndim, x0.dtype)
    return signal_rate * x0 + noise_rate * noise

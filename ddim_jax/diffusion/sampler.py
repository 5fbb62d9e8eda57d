"""DDIM sampling (Song, Meng and Ermon, ICLR 2021) as one `jax.lax.scan`."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ddim_jax.diffusion.forward import noise_from_x0, x0_from_noise
from ddim_jax.diffusion.schedule import Schedule, timestep_grid
from ddim_jax.io.errors import ConfigError

PREDICTIONS = ("noise", "x0")


class Trajectory(NamedTuple):
    """What the reverse process went through.

    Attributes:
      x_t: [steps + 1, ...], the noisy masks: the starting noise first, the sample last.
      x0: [steps, ...], the estimate of the clean mask at each step.
    """

    x_t: jax.Array
    x0: jax.Array


def ddim_sample(
    denoise: Callable[[jax.Array, jax.Array], jax.Array],
    noise: jax.Array,
    schedule: Schedule,
    steps: int,
    *,
    prediction: str = "noise",
    eta: float = 0.0,
    key: jax.Array | None = None,
    clip_x0: float | None = None,
    return_trajectory: bool = False,
) -> jax.Array | tuple[jax.Array, Trajectory]:
    """Turns noise into clean masks in `steps` network evaluations.

    With t the current and s the next timestep of `timestep_grid` (alpha_bar_s = 1 after the last), each step is
    DDIM's Eq. 12 and Eq. 16:

      x_0   = (x_t - sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_bar_t)
      sigma = eta sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t)) sqrt(1 - alpha_bar_t / alpha_bar_s)
      x_s   = sqrt(alpha_bar_s) x_0 + sqrt(1 - alpha_bar_s - sigma^2) eps + sigma z

    Args:
      denoise: called with x_t and t (int32 [batch]); returns the estimate of eps, or of x_0 with `prediction="x0"`.
      noise: standard normal, [batch, ...]; its dtype is the dtype of the arithmetic here.
      schedule: the noise schedule the network was trained with.
      steps: network evaluations, 1 .. T.
      prediction: what `denoise` returns, "noise" or "x0".
      eta: 0 is deterministic DDIM, 1 has the variance of ancestral DDPM sampling.
      key: where the noise z comes from; needed if eta > 0.
      clip_x0: if given, the estimate of x_0 is clipped to [-clip_x0, clip_x0] and eps recomputed from it.
      return_trajectory: also return every x_t and every estimate of x_0.

    Returns:
      The sample, shape and dtype of `noise`; with `return_trajectory`, a pair of it and a `Trajectory`.

    Raises:
      ConfigError: an unknown prediction, steps outside 1 .. T, eta outside [0, 1], or eta > 0 without a key.
    """
    if prediction not in PREDICTIONS:
        raise ConfigError(f"diffusion.prediction is {prediction!r}; expected one of {', '.join(PREDICTIONS)}")
    if not 0.0 <= eta <= 1.0:
        raise ConfigError(f"sample.eta is {eta}; expected a number from 0 (deterministic) to 1 (as DDPM)")
    if eta > 0.0 and key is None:
        raise ConfigError(f"sample.eta is {eta}, so the sampler draws noise; give it a key")

    def step(x_t, inputs):
        t, index, signal_t, noise_t, signal_s, direction, sigma = inputs
        output = denoise(x_t, jnp.full(x_t.shape[:1], t, jnp.int32))
        if prediction == "noise":
            eps = output
            x0 = x0_from_noise(x_t, eps, signal_t, noise_t)
        else:
            x0 = output
            eps = noise_from_x0(x_t, x0, signal_t, noise_t)
        if clip_x0 is not None:
            x0 = jnp.clip(x0, -clip_x0, clip_x0)
            eps = noise_from_x0(x_t, x0, signal_t, noise_t)
        x_s = signal_s * x0 + direction * eps
        if eta > 0.0:
            x_s += sigma * jax.random.normal(jax.random.fold_in(key, index), x_t.shape, x_t.dtype)
        return x_s, (x_s, x0) if return_trajectory else None

    x0, visited = jax.lax.scan(step, noise, _step_inputs(schedule, steps, eta, noise.dtype))
    if return_trajectory:
        return x0, Trajectory(x_t=jnp.concatenate([noise[None], visited[0]]), x0=visited[1])
    return x0


def _step_inputs(schedule: Schedule, steps: int, eta: float, dtype) -> tuple[jax.Array, ...]:
    """Of each step: t, its number, the rates at t, the factors of x_0, eps and z in x_s; from float64, cast once."""
    t = timestep_grid(schedule.num_train_timesteps, steps)
    alpha_bar = schedule.alpha_bars[t]
    alpha_bar_next = np.append(alpha_bar[1:], 1.0)
    sigma = eta * np.sqrt((1 - alpha_bar_next) / (1 - alpha_bar)) * np.sqrt(1 - alpha_bar / alpha_bar_next)
    coefficients = (
        np.sqrt(alpha_bar),
        np.sqrt(1 - alpha_bar),
        np.sqrt(alpha_bar_next),
        # At the last step with eta = 1 the difference is zero but for rounding; it must not turn into a NaN.
        np.sqrt(np.maximum(1 - alpha_bar_next - sigma**2, 0.0)),
        sigma,
    )
    return (jnp.asarray(t), jnp.arange(steps, dtype=jnp.int32), *(jnp.asarray(c, dtype) for c in coefficients))

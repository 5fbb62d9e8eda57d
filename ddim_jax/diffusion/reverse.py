"""Parts of all samplers: the timesteps visited, the reading of the network's answer, the one `jax.lax.scan`."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ddim_jax.diffusion.conversions import check_prediction, noise_from_x0, x0_and_noise
from ddim_jax.diffusion.schedule import Schedule, timestep_grid
from ddim_jax.runtime.errors import ConfigError

Denoise = Callable[[jax.Array, jax.Array], jax.Array]
"""(x_t [batch, ...], t int32 [batch]) -> what the network predicts, the shape of x_t."""


def uses(*options: str) -> Callable:
    """A decorator: the sampler reads these fields of `SamplingOptions` besides `steps` and `clip_x0`.

    Of a field of samplers alone, such as eta, the others have the default, and refuse another value.
    """

    def mark(sampler: Callable) -> Callable:
        sampler.uses = options
        return sampler

    return mark


class Trajectory(NamedTuple):
    """The states of the reverse process.

    Attributes:
      x_t: [steps + 1, ...], the noisy masks: the starting noise first, the sample last.
      x0: [steps, ...], the estimate of the clean mask at each step.
    """

    x_t: jax.Array
    x0: jax.Array


def check_clip(clip_x0: float | None) -> None:
    """Refuses a bound that is not positive.

    Raises:
      ConfigError: it is not.
    """
    if clip_x0 is not None and not clip_x0 > 0.0:
        raise ConfigError(f"sample.clip_x0 is {clip_x0}; expected None (off) or a positive bound")


def estimator(denoise: Denoise, prediction: str, schedule: Schedule, clip_x0: float | None):
    """Builds the reader of the network's answer: (x_t, t, rates of signal and noise at t) -> estimates of (x_0, eps).

    Raises:
      ConfigError: a prediction that is unknown or does not go with the schedule, or a bound that is not positive.
    """
    check_prediction(prediction, schedule)
    check_clip(clip_x0)

    def estimate(x_t, t, signal_t, noise_t):
        # Broadcast, not jnp.full, which needs to know how many images an exported program will get.
        output = denoise(x_t, jnp.broadcast_to(jnp.asarray(t, jnp.int32), x_t.shape[:1]))
        x0, eps = x0_and_noise(prediction, output, x_t, signal_t, noise_t)
        if clip_x0 is not None:
            x0 = jnp.clip(x0, -clip_x0, clip_x0)
            eps = noise_from_x0(x_t, x0, signal_t, noise_t)
        return x0, eps

    return estimate


def draw(key: jax.Array, index: jax.Array, x_t: jax.Array) -> jax.Array:
    """Standard normal noise like `x_t` for step number `index`.

    `key` is one key, or one for each example, or the noise itself where it was drawn before: float [steps, *x_t.shape].
    """
    if jnp.issubdtype(key.dtype, jnp.floating):
        return key[index]
    if key.ndim == 0:
        return jax.random.normal(jax.random.fold_in(key, index), x_t.shape, x_t.dtype)
    return jax.vmap(lambda own: jax.random.normal(jax.random.fold_in(own, index), x_t.shape[1:], x_t.dtype))(key)


def visited(schedule: Schedule, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The timesteps, alpha_bar at each, and alpha_bar at the one that follows (1 after the last).

    Raises:
      ConfigError: as `timestep_grid`.
    """
    t = timestep_grid(schedule.num_train_timesteps, steps)
    alpha_bar = schedule.alpha_bars[t]
    return t, alpha_bar, np.append(alpha_bar[1:], 1.0)


def step_inputs(t: np.ndarray, alpha_bar: np.ndarray, *factors: np.ndarray, dtype) -> tuple[jax.Array, ...]:
    """The inputs of each step: t, its number, the rates of signal and noise at t, and `factors`, cast from float64."""
    coefficients = (np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar), *factors)
    return (jnp.asarray(t), jnp.arange(len(t), dtype=jnp.int32), *(jnp.asarray(c, dtype) for c in coefficients))


def sampled(noise: jax.Array, sample: jax.Array, seen: tuple[jax.Array, jax.Array] | None):
    """The result of a sampler: the sample, and the `Trajectory` if the scan kept (x_s, x_0) of each step as `seen`."""
    if seen is None:
        return sample
    return sample, Trajectory(x_t=jnp.concatenate([noise[None], seen[0]]), x0=seen[1])

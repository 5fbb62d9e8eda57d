"""Ancestral DDPM sampling (Ho, Jain and Abbeel, NeurIPS 2020) as one `jax.lax.scan`."""

import jax
import numpy as np

from ddim_jax.diffusion.reverse import Denoise, Trajectory, draw, estimator, sampled, step_inputs, visited
from ddim_jax.diffusion.schedule import Schedule
from ddim_jax.registry import register
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.sampling_options import SamplingOptions


@register.sampler("ddpm")
def ddpm_sample(
    denoise: Denoise,
    noise: jax.Array,
    schedule: Schedule,
    options: SamplingOptions,
    *,
    prediction: str = "noise",
    key: jax.Array | None = None,
    return_trajectory: bool = False,
) -> jax.Array | tuple[jax.Array, Trajectory]:
    """Turns noise into clean masks by drawing from the posterior of the forward process, step by step.

    With t the current and s the next timestep of `timestep_grid` (alpha_bar_s = 1 after the last),
    alpha = alpha_bar_t / alpha_bar_s and beta = 1 - alpha, each step draws from q(x_s | x_t, x_0) at the estimate of
    x_0 (Ho et al. 2020, Eq. 6 and 7; with every timestep visited, alpha and beta are theirs of timestep t):

      mean  = (sqrt(alpha_bar_s) beta x_0 + sqrt(alpha) (1 - alpha_bar_s) x_t) / (1 - alpha_bar_t)
      x_s   = mean + sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t) beta) z

    The variance is the posterior's (their beta-tilde), so the last step adds no noise and lands on the estimate of x_0.
    In exact arithmetic this is DDIM with eta = 1.

    Args:
      denoise, noise, schedule, prediction, return_trajectory: as `ddim_sample`.
      options: `steps`, 1 .. T (T visits every timestep), and `clip_x0`, as `ddim_sample`.
      key: as `ddim_sample`; always needed.

    Returns:
      As `ddim_sample`.

    Raises:
      ConfigError: as `ddim_sample`, or no key.
    """
    if key is None:
        raise ConfigError("sample.sampler is 'ddpm', which draws noise at every step; give it a key")
    estimate = estimator(denoise, prediction, schedule, options.clip_x0)

    def step(x_t, inputs):
        t, index, signal_t, noise_t, of_x0, of_x_t, sigma = inputs
        x0, _ = estimate(x_t, t, signal_t, noise_t)
        x_s = of_x0 * x0 + of_x_t * x_t + sigma * draw(key, index, x_t)
        return x_s, (x_s, x0) if return_trajectory else None

    sample, seen = jax.lax.scan(step, noise, _inputs(schedule, options.steps, noise.dtype))
    return sampled(noise, sample, seen)


def _inputs(schedule: Schedule, steps: int, dtype) -> tuple[jax.Array, ...]:
    """The inputs of each step: t, its number, the rates at t, the factors of x_0, x_t and z in x_s."""
    t, alpha_bar, alpha_bar_next = visited(schedule, steps)
    alpha = alpha_bar / alpha_bar_next
    of_x0 = np.sqrt(alpha_bar_next) * (1 - alpha) / (1 - alpha_bar)
    of_x_t = np.sqrt(alpha) * (1 - alpha_bar_next) / (1 - alpha_bar)
    sigma = np.sqrt((1 - alpha_bar_next) / (1 - alpha_bar) * (1 - alpha))
    return step_inputs(t, alpha_bar, of_x0, of_x_t, sigma, dtype=dtype)

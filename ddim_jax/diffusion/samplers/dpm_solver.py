"""DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, Algorithm 2) as one `jax.lax.scan`."""

import jax
import jax.numpy as jnp
import numpy as np

from ddim_jax.diffusion.reverse import Denoise, Trajectory, estimator, sampled, step_inputs, visited
from ddim_jax.diffusion.schedule import Schedule
from ddim_jax.registry import register
from ddim_jax.sampling_options import SamplingOptions


@register.sampler("dpm++")
def dpm_solver_sample(
    denoise: Denoise,
    noise: jax.Array,
    schedule: Schedule,
    options: SamplingOptions,
    *,
    prediction: str = "noise",
    key: jax.Array | None = None,
    return_trajectory: bool = False,
) -> jax.Array | tuple[jax.Array, Trajectory]:
    """Turns noise into clean masks with a second-order solver that still evaluates the network once a step.

    With a = sqrt(alpha_bar), b = sqrt(1 - alpha_bar) and lambda = log(a / b), t the current and s the next timestep of
    `timestep_grid` (alpha_bar_s = 1 after the last), h = lambda_s - lambda_t and h' the h of the step before,

      D   = x_0 + h / (2 h') (x_0 - x_0 of the step before)
      x_s = b_s / b_t x_t + a_s (1 - exp(-h)) D

    where x_0 is the estimate at t. The solution of DDIM's differential equation (eta = 0) is approached in O(1/steps^2)
    where DDIM takes O(1/steps). Two steps take D = x_0, which makes them steps of DDIM: the first, for want of one
    before it, and the last, where lambda_s is infinite; it lands on the estimate of x_0. With a schedule that ends at
    alpha_bar = 0 lambda begins at -infinity and the first h is infinite, so the second does so too.

    Args:
      denoise, noise, schedule, prediction, return_trajectory: as `ddim_sample`.
      options: `steps` and `clip_x0`, as `ddim_sample`; D is not clipped.
      key: not used. The sampler draws no noise: the sample is a function of `noise`.

    Returns:
      As `ddim_sample`.

    Raises:
      ConfigError: as `ddim_sample`.
    """
    estimate = estimator(denoise, prediction, schedule, options.clip_x0)

    def step(carry, inputs):
        x_t, before = carry
        t, _, signal_t, noise_t, of_x_t, of_data, extrapolation = inputs
        x0, _ = estimate(x_t, t, signal_t, noise_t)
        x_s = of_x_t * x_t + of_data * (x0 + extrapolation * (x0 - before))
        return (x_s, x0), (x_s, x0) if return_trajectory else None

    inputs = _inputs(schedule, options.steps, noise.dtype)
    (sample, _), seen = jax.lax.scan(step, (noise, jnp.zeros_like(noise)), inputs)
    return sampled(noise, sample, seen)


def _inputs(schedule: Schedule, steps: int, dtype) -> tuple[jax.Array, ...]:
    """The inputs of each step: t, its number, the rates at t, the factors of x_t and D in x_s, and h / (2 h')."""
    t, alpha_bar, alpha_bar_next = visited(schedule, steps)
    of_x_t = np.sqrt((1 - alpha_bar_next) / (1 - alpha_bar))
    # a_s (1 - exp(-h)) without a logarithm, so that neither end of lambda is a special case.
    of_data = np.sqrt(alpha_bar_next) - np.sqrt(alpha_bar) * of_x_t
    with np.errstate(divide="ignore"):  # lambda = -infinity at alpha_bar = 0
        h = np.diff(0.5 * np.log(alpha_bar / (1 - alpha_bar)))
    extrapolation = np.zeros(steps)
    extrapolation[1:-1] = h[1:] / (2 * h[:-1])  # 0 after an infinite step
    return step_inputs(t, alpha_bar, of_x_t, of_data, extrapolation, dtype=dtype)

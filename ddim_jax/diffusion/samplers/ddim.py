"""DDIM (Song, Meng and Ermon, ICLR 2021) as one `jax.lax.scan`."""

import jax
import numpy as np

from ddim_jax.diffusion.reverse import Denoise, Trajectory, draw, estimator, sampled, step_inputs, uses, visited
from ddim_jax.diffusion.schedule import Schedule
from ddim_jax.registry import register
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.sampling_options import SamplingOptions


@register.sampler("ddim")
@uses("eta")
def ddim_sample(
    denoise: Denoise,
    noise: jax.Array,
    schedule: Schedule,
    options: SamplingOptions,
    *,
    prediction: str = "noise",
    key: jax.Array | None = None,
    return_trajectory: bool = False,
) -> jax.Array | tuple[jax.Array, Trajectory]:
    """Turns noise into clean masks in `options.steps` network evaluations.

    With t the current and s the next timestep of `timestep_grid` (alpha_bar_s = 1 after the last), each step is
    DDIM's Eq. 12 and Eq. 16:

      x_0   = (x_t - sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_bar_t)
      sigma = eta sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t)) sqrt(1 - alpha_bar_t / alpha_bar_s)
      x_s   = sqrt(alpha_bar_s) x_0 + sqrt(1 - alpha_bar_s - sigma^2) eps + sigma z

    Args:
      denoise: called with x_t and t (int32 [batch]); returns the estimate of what `prediction` says.
      noise: standard normal, [batch, ...]; its dtype is the dtype of the arithmetic here.
      schedule: the noise schedule the network was trained with.
      options: of these, `steps`, network evaluations, 1 .. T; `eta`: 0 is deterministic DDIM, 1 has the variance of
        ancestral DDPM sampling; `clip_x0`: if not None, the estimate of x_0 is clipped to [-clip_x0, clip_x0] and eps
        recomputed from it.
      prediction: what `denoise` returns: "noise", "x0", or "v" = sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0;
        x_0 and eps follow from each (`ddim_jax.diffusion.conversions`).
      key: where the noise z comes from, needed if eta > 0: step k draws from fold_in(key, k). One key for the whole
        batch, or an array of keys [batch], one for each example, whose noise then does not depend on the others.
      return_trajectory: also return every x_t and every estimate of x_0.

    Returns:
      The sample, shape and dtype of `noise`; with `return_trajectory`, a pair of it and a `Trajectory`.

    Raises:
      ConfigError: an unknown prediction, "noise" with a schedule that ends at alpha_bar = 0, steps that are not a whole
        number in 1 .. T, eta outside [0, 1], eta > 0 without a key, or a clip_x0 that is not positive.
    """
    eta = options.eta
    if not 0.0 <= eta <= 1.0:
        raise ConfigError(f"sample.eta is {eta}; expected a number from 0 (deterministic) to 1 (as DDPM)")
    if eta > 0.0 and key is None:
        raise ConfigError(f"sample.eta is {eta}, so the sampler draws noise; give it a key")

    estimate = estimator(denoise, prediction, schedule, options.clip_x0)

    def step(x_t, inputs):
        t, index, signal_t, noise_t, signal_s, direction, sigma = inputs
        x0, eps = estimate(x_t, t, signal_t, noise_t)
        # The last step lands on the estimate of x_0. Where it is the only one, the program need not compute eps.
        x_s = signal_s * x0 + direction * eps if options.steps > 1 else x0
        if eta > 0.0:
            x_s += sigma * draw(key, index, x_t)
        return x_s, (x_s, x0) if return_trajectory else None

    sample, seen = jax.lax.scan(step, noise, _inputs(schedule, options.steps, eta, noise.dtype))
    return sampled(noise, sample, seen)


def _inputs(schedule: Schedule, steps: int, eta: float, dtype) -> tuple[jax.Array, ...]:
    """The inputs of each step: t, its number, the rates at t, the factors of x_0, eps and z in x_s."""
    t, alpha_bar, alpha_bar_next = visited(schedule, steps)
    sigma = eta * np.sqrt((1 - alpha_bar_next) / (1 - alpha_bar)) * np.sqrt(1 - alpha_bar / alpha_bar_next)
    # At the last step with eta = 1 the difference is zero but for rounding; it must not turn into a NaN.
    direction = np.sqrt(np.maximum(1 - alpha_bar_next - sigma**2, 0.0))
    return step_inputs(t, alpha_bar, np.sqrt(alpha_bar_next), direction, sigma, dtype=dtype)

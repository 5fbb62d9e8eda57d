"""Requests that a sampler cannot fulfil."""

import jax
import jax.numpy as jnp
import pytest
from stand_ins import ddim_sample, ddpm_sample, dpm_solver_sample

from ddim_jax.diffusion import linear_schedule
from ddim_jax.runtime.errors import ConfigError


def refuse(sample, steps, options, message):
    with pytest.raises(ConfigError, match=message):
        sample(lambda x, t: x, jnp.zeros((2, 3, 4, 1)), linear_schedule(), steps, **options)


@pytest.mark.parametrize("sample", [ddim_sample, ddpm_sample, dpm_solver_sample], ids=["ddim", "ddpm", "dpm++"])
@pytest.mark.parametrize(
    ("steps", "options", "message"),
    [
        (5, {"prediction": "velocity"}, "diffusion.prediction is 'velocity'; expected one of noise, x0, v"),
        (5, {"clip_x0": 0.0}, "sample.clip_x0 is 0.0; expected None .* or a positive bound"),
        (5, {"clip_x0": -1.0}, "sample.clip_x0 is -1.0; expected None .* or a positive bound"),
        (5, {"clip_x0": float("nan")}, "sample.clip_x0 is nan"),
        (0, {}, "sample.steps is 0; expected a whole number from 1 to 1000"),
        (1001, {}, "sample.steps is 1001; expected a whole number from 1 to 1000"),
        (2.5, {}, "sample.steps is 2.5; expected a whole number from 1 to 1000"),
        (2.0, {}, "sample.steps is 2.0; expected a whole number from 1 to 1000"),
    ],
)
def test_impossible_requests_name_the_field(sample, steps, options, message):
    refuse(sample, steps, {"key": jax.random.key(0), **options}, message)


@pytest.mark.parametrize(
    ("sample", "options", "message"),
    [
        (ddim_sample, {"eta": 1.0}, "sample.eta is 1.0.*give it a key"),
        (ddim_sample, {"eta": -0.1}, "sample.eta is -0.1; expected a number from 0"),
        (ddim_sample, {"eta": 1.5}, "sample.eta is 1.5; expected a number from 0"),
        (ddpm_sample, {}, "sample.sampler is 'ddpm'.*give it a key"),
    ],
)
def test_noise_is_asked_for_within_bounds_and_with_a_key(sample, options, message):
    refuse(sample, 5, options, message)

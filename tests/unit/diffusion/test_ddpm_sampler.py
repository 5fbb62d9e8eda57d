"""Ancestral sampling against an independent float64 version, against DDIM, and against a closed form."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import numpy_ddpm
import pytest
from stand_ins import (
    KEY_SEED,
    SAMPLED,
    compare_with_numpy,
    ddim_sample,
    ddpm_sample,
    drawn_noise,
    network,
    network_jax,
    starting_noise,
)

from ddim_jax.diffusion import DiffusionProcess, linear_schedule
from ddim_jax.registry import SAMPLERS
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.sampling_options import SamplingOptions

compare = functools.partial(compare_with_numpy, ddpm_sample, numpy_ddpm.sample, drawn=True)


@pytest.mark.parametrize(("steps", "prediction"), list(itertools.product([1, 7, 50, 1000], ["noise", "x0", "v"])))
def test_equals_the_independent_version(steps, prediction):
    compare(steps, prediction=prediction)


@pytest.mark.parametrize("prediction", ["noise", "x0", "v"])
def test_clipped_equals_the_independent_version(prediction):
    compare(7, prediction=prediction, clip=0.5)


@pytest.mark.parametrize("prediction", ["x0", "v"])
@pytest.mark.parametrize("steps", [1, 7])
def test_from_a_schedule_that_ends_at_zero(steps, prediction):
    compare(steps, prediction=prediction, schedule="cosine to zero")


def test_float32_stays_float32_and_close():
    noise = jnp.asarray(starting_noise(np.float32))
    result = ddpm_sample(network_jax, noise, linear_schedule(), 1000, prediction="x0", key=jax.random.key(KEY_SEED))
    z = np.asarray(drawn_noise(KEY_SEED, 1000, SAMPLED, jnp.float32))
    _, x0 = numpy_ddpm.sample(network, starting_noise(), 1000, z, prediction="x0")
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, x0[-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [3, 40])
def test_is_ddim_with_eta_one(steps):
    with jax.enable_x64(True):
        given = (network_jax, jnp.asarray(starting_noise()), linear_schedule(40), steps)
        ours = ddpm_sample(*given, key=jax.random.key(1))
        np.testing.assert_allclose(ours, ddim_sample(*given, eta=1.0, key=jax.random.key(1)), rtol=1e-9, atol=1e-10)


def test_the_noise_follows_the_key():
    def run(seed):
        noise = jnp.asarray(starting_noise(np.float32))
        return np.asarray(ddpm_sample(network_jax, noise, linear_schedule(), 4, key=jax.random.key(seed)))

    np.testing.assert_array_equal(run(1), run(1))
    assert np.abs(run(1) - run(2)).max() > 0.1


def test_with_a_key_for_each_example_the_others_do_not_matter():
    keys = jax.random.split(jax.random.key(2), 2)
    for sample, options in ((ddpm_sample, {}), (ddim_sample, {"eta": 0.7})):
        noise = jnp.asarray(starting_noise(np.float32))
        both = sample(network_jax, noise, linear_schedule(), 4, key=keys, **options)
        for own in (0, 1):
            alone = sample(network_jax, noise[own : own + 1], linear_schedule(), 4, key=keys[own], **options)
            np.testing.assert_allclose(both[own], alone[0], rtol=1e-6, atol=1e-6)


def test_the_program_is_one_scan():
    def program(noise, key):
        return ddpm_sample(network_jax, noise, linear_schedule(), 1000, key=key, clip_x0=1.0)

    text = str(jax.make_jaxpr(program)(jnp.zeros(SAMPLED), jax.random.key(0)))
    assert re.findall(r"\b(scan|while)\[", text) == ["scan"]
    assert re.findall(r"\btanh\b", text) == ["tanh"]
    assert "length=1000" in text


def test_the_process_hands_everything_over():
    process = DiffusionProcess.create(prediction="x0", mask_scale=0.5)
    image, noise = jnp.zeros((*SAMPLED[:3], 3)), jnp.asarray(starting_noise(np.float32))
    bars = numpy_ddpm.alpha_bars()

    def apply(params, noisy_mask, image, t):
        return params * network_jax(noisy_mask, t)

    def denoise(x, t):
        return 0.5 * 2.0 * network(x / np.sqrt(bars[t] * 0.25 + 1 - bars[t]), t)

    key = jax.random.key(KEY_SEED)
    result = process.sample(apply, 2.0, image, noise, SamplingOptions(6, sampler="ddpm", clip_x0=0.9), key=key)
    z = np.asarray(drawn_noise(KEY_SEED, 6, SAMPLED, jnp.float32))
    _, x0 = numpy_ddpm.sample(denoise, starting_noise(), 6, z, prediction="x0", clip=0.45)
    np.testing.assert_allclose(result, x0[-1] / 0.5, rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match=re.escape(f"sample.sampler is 'dpm'; expected one of {', '.join(SAMPLERS)}")):
        process.sample(apply, 2.0, image, noise, SamplingOptions(6, sampler="dpm"))

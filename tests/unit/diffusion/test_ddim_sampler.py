"""The sampler against an independent float64 version, against a closed form, and against ancestral DDPM."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import numpy_ddim
import pytest
from stand_ins import (
    KEY_SEED,
    SAMPLED,
    compare_with_numpy,
    ddim_sample,
    drawn_noise,
    network,
    network_jax,
    starting_noise,
)

from ddim_jax.diffusion import linear_schedule

compare = functools.partial(compare_with_numpy, ddim_sample, numpy_ddim.sample)


@pytest.mark.parametrize(
    ("steps", "prediction", "eta"), list(itertools.product([1, 7, 50, 1000], ["noise", "x0", "v"], [0.0, 1.0]))
)
def test_equals_the_independent_version(steps, prediction, eta):
    compare(steps, prediction=prediction, eta=eta, drawn=eta > 0)


@pytest.mark.parametrize(
    ("prediction", "eta"), [("noise", 0.0), ("noise", 0.4), ("x0", 0.0), ("x0", 1.0), ("v", 0.0), ("v", 0.4)]
)
def test_clipped_equals_the_independent_version(prediction, eta):
    compare(7, prediction=prediction, eta=eta, drawn=eta > 0, clip=0.5)


@pytest.mark.parametrize("prediction", ["x0", "v"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [1, 7])
def test_from_a_schedule_that_ends_at_zero(steps, eta, prediction):
    compare(steps, prediction=prediction, eta=eta, drawn=eta > 0, schedule="cosine to zero")


def test_float32_stays_float32_and_close():
    _, x0 = numpy_ddim.sample(network, starting_noise(), 50, prediction="x0")
    result = ddim_sample(
        network_jax, jnp.asarray(starting_noise(), jnp.float32), linear_schedule(), 50, prediction="x0"
    )
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, x0[-1], rtol=1e-4, atol=1e-5)


def test_eta_one_with_every_timestep_is_ancestral_ddpm():
    """Ho et al. 2020, Eq. 7: the posterior mean and variance of x_{t-1} given x_t and the estimate of x_0."""
    total = 40
    bars = numpy_ddim.alpha_bars(total)
    before = np.append(1.0, bars[:-1])
    betas = 1 - bars / before
    with jax.enable_x64(True):
        result = ddim_sample(
            network_jax,
            jnp.asarray(starting_noise()),
            linear_schedule(total),
            total,
            prediction="x0",
            eta=1.0,
            key=jax.random.key(KEY_SEED),
        )
        z = np.asarray(drawn_noise(KEY_SEED, total, SAMPLED))
    x = starting_noise()
    for t in reversed(range(total)):
        x0 = network(x, t)
        mean = (np.sqrt(before[t]) * betas[t] * x0 + np.sqrt(1 - betas[t]) * (1 - before[t]) * x) / (1 - bars[t])
        x = mean + np.sqrt(betas[t] * (1 - before[t]) / (1 - bars[t])) * z[total - 1 - t]
    np.testing.assert_allclose(result, x, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("steps", "prediction", "eta"), list(itertools.product([1, 7, 50, 1000], ["noise", "x0"], [0.0, 1.0]))
)
def test_data_of_one_point_is_recovered_from_every_grid(steps, prediction, eta):
    """For data that are one x_0, eps is (x_t - sqrt(alpha_bar_t) x_0) / sqrt(1 - alpha_bar_t) exactly."""
    point = np.random.default_rng(8).choice([-1.0, 1.0], SAMPLED).astype(np.float32)
    bars = numpy_ddim.alpha_bars()
    signal, rate = (jnp.asarray(np.sqrt(a), jnp.float32) for a in (bars, 1 - bars))

    def exact(x, t):
        x0 = jnp.broadcast_to(point, x.shape)
        if prediction == "x0":
            return x0
        s, r = signal[t].reshape(-1, 1, 1, 1), rate[t].reshape(-1, 1, 1, 1)
        return (x - s * x0) / r

    key = jax.random.key(1) if eta else None
    noise = jnp.asarray(starting_noise(np.float32))
    result = ddim_sample(exact, noise, linear_schedule(), steps, prediction=prediction, eta=eta, key=key)
    np.testing.assert_allclose(result, point, atol=2e-4)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [1, 7])
def test_the_last_step_lands_on_the_clean_mask(steps, eta):
    """alpha_bar = 1: no noise is left, so the sample is the last estimate of x_0 to the bit."""
    result, trajectory = ddim_sample(
        network_jax,
        jnp.asarray(starting_noise(np.float32)),
        linear_schedule(),
        steps,
        prediction="x0",
        eta=eta,
        key=jax.random.key(0),
        return_trajectory=True,
    )
    np.testing.assert_array_equal(trajectory.x_t[0], starting_noise(np.float32))
    np.testing.assert_array_equal(result, trajectory.x0[-1])


def test_the_trajectory_does_not_change_the_sample():
    noise = jnp.asarray(starting_noise(np.float32))
    plain = ddim_sample(network_jax, noise, linear_schedule(), 7)
    watched, _ = ddim_sample(network_jax, noise, linear_schedule(), 7, return_trajectory=True)
    np.testing.assert_allclose(plain, watched, rtol=1e-6)


def test_the_denoiser_gets_the_timestep_of_every_example():
    seen = []

    def returns_t(x, t):
        seen.append((x.shape, t.shape, t.dtype))
        return jnp.broadcast_to(t.astype(x.dtype).reshape(-1, 1, 1, 1), x.shape)

    noise = jnp.zeros((3, 2, 2, 1))
    _, trajectory = ddim_sample(returns_t, noise, linear_schedule(), 7, prediction="x0", return_trajectory=True)
    assert set(seen) == {((3, 2, 2, 1), (3,), jnp.dtype("int32"))}
    expected = np.array([999, 856, 713, 570, 428, 285, 142])
    np.testing.assert_array_equal(trajectory.x0, np.broadcast_to(expected.reshape(7, 1, 1, 1, 1), (7, 3, 2, 2, 1)))


def test_eta_zero_ignores_the_key_and_eta_one_follows_it():
    noise = jnp.asarray(starting_noise(np.float32))

    def run(eta, seed):
        return np.asarray(ddim_sample(network_jax, noise, linear_schedule(), 4, eta=eta, key=jax.random.key(seed)))

    np.testing.assert_array_equal(run(0.0, 1), run(0.0, 2))
    np.testing.assert_array_equal(run(1.0, 1), run(1.0, 1))
    assert np.abs(run(1.0, 1) - run(1.0, 2)).max() > 0.1


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [1, 50])
def test_the_program_is_one_scan(steps, eta):
    """One loop and one copy of the network, however many steps."""
    calls = []

    def counted(x, t):
        calls.append(t)
        return network_jax(x, t)

    def program(noise, key):
        return ddim_sample(counted, noise, linear_schedule(), steps, eta=eta, key=key, clip_x0=1.0)

    text = str(jax.make_jaxpr(program)(jnp.zeros(SAMPLED), jax.random.key(0)))
    assert re.findall(r"\b(scan|while)\[", text) == ["scan"]
    assert re.findall(r"\btanh\b", text) == ["tanh"]
    assert f"length={steps}" in text

"""The sampler against an independent float64 version, against a closed form, and against ancestral DDPM."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import numpy_ddim
import pytest
from numpy_schedules import cosine_alpha_bars, zero_terminal
from stand_ins import ddim_sample, drawn_noise

from ddim_jax.diffusion import cosine_schedule, linear_schedule, with_zero_terminal_snr

SHAPE = (2, 3, 4, 1)
KEY_SEED = 5


def nonlinear(x, t, xp):
    """Some smooth function of both arguments."""
    return xp.tanh(0.7 * x + 0.5 * xp.sin(t / 150.0)) + 0.2 * x * xp.cos(t / 400.0)


def nonlinear_jax(x, t):
    return nonlinear(x, t.astype(x.dtype).reshape(-1, 1, 1, 1), jnp)


def nonlinear_numpy(x, t):
    return nonlinear(x, t, np)


def starting_noise(dtype=np.float64):
    return np.random.default_rng(3).normal(size=SHAPE).astype(dtype)


def compare_with_numpy(steps, prediction, eta, clip=None):
    with jax.enable_x64(True):
        result, trajectory = ddim_sample(
            nonlinear_jax,
            jnp.asarray(starting_noise()),
            linear_schedule(),
            steps,
            prediction=prediction,
            eta=eta,
            key=jax.random.key(KEY_SEED) if eta else None,
            clip_x0=clip,
            return_trajectory=True,
        )
        z = np.asarray(drawn_noise(KEY_SEED, steps, SHAPE)) if eta else None
    x_t, x0 = numpy_ddim.sample(
        nonlinear_numpy, starting_noise(), steps, prediction=prediction, eta=eta, z=z, clip=clip
    )
    assert result.dtype == np.float64
    assert trajectory.x_t.shape == (steps + 1, *SHAPE) and trajectory.x0.shape == (steps, *SHAPE)
    np.testing.assert_allclose(trajectory.x_t, x_t, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(trajectory.x0, x0, rtol=1e-8, atol=1e-9)
    np.testing.assert_array_equal(result, trajectory.x_t[-1])
    return x0


@pytest.mark.parametrize(
    ("steps", "prediction", "eta"), list(itertools.product([1, 7, 50, 1000], ["noise", "x0", "v"], [0.0, 1.0]))
)
def test_equals_the_independent_version(steps, prediction, eta):
    compare_with_numpy(steps, prediction, eta)


@pytest.mark.parametrize(
    ("prediction", "eta"), [("noise", 0.0), ("noise", 0.4), ("x0", 0.0), ("x0", 1.0), ("v", 0.0), ("v", 0.4)]
)
def test_clipped_equals_the_independent_version(prediction, eta):
    x0 = compare_with_numpy(7, prediction, eta, clip=0.5)
    assert np.abs(x0).max() == 0.5  # the bound was met, or this test would show nothing


@pytest.mark.parametrize("prediction", ["x0", "v"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [1, 7])
def test_from_a_schedule_that_ends_at_zero(steps, eta, prediction):
    bars = zero_terminal(cosine_alpha_bars(1000))
    with jax.enable_x64(True):
        _, trajectory = ddim_sample(
            nonlinear_jax,
            jnp.asarray(starting_noise()),
            with_zero_terminal_snr(cosine_schedule()),
            steps,
            prediction=prediction,
            eta=eta,
            key=jax.random.key(KEY_SEED),
            return_trajectory=True,
        )
        z = np.asarray(drawn_noise(KEY_SEED, steps, SHAPE))
    x_t, x0 = numpy_ddim.sample(
        nonlinear_numpy, starting_noise(), steps, prediction=prediction, eta=eta, z=z, bars=bars
    )
    np.testing.assert_allclose(trajectory.x_t, x_t, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(trajectory.x0, x0, rtol=1e-8, atol=1e-9)


def test_float32_stays_float32_and_close():
    _, x0 = numpy_ddim.sample(nonlinear_numpy, starting_noise(), 50, prediction="x0")
    result = ddim_sample(
        nonlinear_jax, jnp.asarray(starting_noise(), jnp.float32), linear_schedule(), 50, prediction="x0"
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
            nonlinear_jax,
            jnp.asarray(starting_noise()),
            linear_schedule(total),
            total,
            prediction="x0",
            eta=1.0,
            key=jax.random.key(KEY_SEED),
        )
        z = np.asarray(drawn_noise(KEY_SEED, total, SHAPE))
    x = starting_noise()
    for t in reversed(range(total)):
        x0 = nonlinear_numpy(x, t)
        mean = (np.sqrt(before[t]) * betas[t] * x0 + np.sqrt(1 - betas[t]) * (1 - before[t]) * x) / (1 - bars[t])
        x = mean + np.sqrt(betas[t] * (1 - before[t]) / (1 - bars[t])) * z[total - 1 - t]
    np.testing.assert_allclose(result, x, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("steps", "prediction", "eta"), list(itertools.product([1, 7, 50, 1000], ["noise", "x0"], [0.0, 1.0]))
)
def test_data_of_one_point_is_recovered_from_every_grid(steps, prediction, eta):
    """For data that are one x_0, eps is (x_t - sqrt(alpha_bar_t) x_0) / sqrt(1 - alpha_bar_t) exactly."""
    point = np.random.default_rng(8).choice([-1.0, 1.0], SHAPE).astype(np.float32)
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
        nonlinear_jax,
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
    plain = ddim_sample(nonlinear_jax, noise, linear_schedule(), 7)
    watched, _ = ddim_sample(nonlinear_jax, noise, linear_schedule(), 7, return_trajectory=True)
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
        return np.asarray(ddim_sample(nonlinear_jax, noise, linear_schedule(), 4, eta=eta, key=jax.random.key(seed)))

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
        return nonlinear_jax(x, t)

    def program(noise, key):
        return ddim_sample(counted, noise, linear_schedule(), steps, eta=eta, key=key, clip_x0=1.0)

    text = str(jax.make_jaxpr(program)(jnp.zeros(SHAPE), jax.random.key(0)))
    assert re.findall(r"\b(scan|while)\[", text) == ["scan"]
    assert re.findall(r"\btanh\b", text) == ["tanh"]
    assert f"length={steps}" in text

"""Noising and its two inverses, with the linear schedule."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy_ddim import alpha_bars

from ddim_jax.diffusion import Schedule, add_noise, linear_schedule, noise_from_x0, x0_from_noise


def test_add_noise_by_hand():
    schedule = Schedule(betas=np.array([0.36, 0.75]), alpha_bars=np.array([0.64, 0.16]))
    x0 = jnp.array([[[[1.0], [-1.0]]], [[[1.0], [-1.0]]]])
    noise = jnp.array([[[[0.5], [2.0]]], [[[0.0], [1.0]]]])
    noisy = add_noise(x0, noise, jnp.array([0, 1]), schedule)
    # t = 0: .8 x0 + .6 noise; t = 1: .4 x0 + sqrt(.84) noise
    expected = [[[[0.8 + 0.3], [-0.8 + 1.2]]], [[[0.4], [-0.4 + 0.84**0.5]]]]
    np.testing.assert_allclose(noisy, expected, rtol=1e-6)


def test_add_noise_at_every_timestep_to_the_last_digit_of_float32():
    rng = np.random.default_rng(0)
    x0, noise = rng.normal(size=(2, 1000, 3)).astype(np.float32)
    noisy = add_noise(jnp.asarray(x0), jnp.asarray(noise), jnp.arange(1000), linear_schedule())
    bars = alpha_bars()[:, None]
    assert noisy.dtype == jnp.float32
    np.testing.assert_allclose(noisy, np.sqrt(bars) * x0 + np.sqrt(1 - bars) * noise, rtol=1e-6, atol=5e-7)
    # Only noise: sqrt(1 - alpha_bar_0) = 0.01 would have three digits left if it were computed in float32.
    only = add_noise(jnp.zeros((1000, 1)), jnp.ones((1000, 1)), jnp.arange(1000), linear_schedule())
    np.testing.assert_allclose(only, np.sqrt(1 - bars), rtol=2e-7)


def test_the_two_estimates_are_inverse_to_add_noise():
    rng = np.random.default_rng(0)
    bars = alpha_bars()
    with jax.enable_x64(True):
        x0, noise = jnp.asarray(rng.normal(size=(2, 4, 3, 3, 1)))
        t = jnp.array([0, 10, 500, 999])
        noisy = add_noise(x0, noise, t, linear_schedule())
        signal, rate = (np.sqrt(a)[t].reshape(-1, 1, 1, 1) for a in (bars, 1 - bars))
        np.testing.assert_allclose(x0_from_noise(noisy, noise, signal, rate), x0, rtol=1e-9)
        np.testing.assert_allclose(noise_from_x0(noisy, x0, signal, rate), noise, rtol=1e-9)

"""DPM-Solver++(2M) against an independent float64 version and against DDIM where the two are one."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import numpy_dpm_solver
import pytest
from numpy_schedules import cosine_alpha_bars
from scipy.special import expit
from stand_ins import (
    SAMPLED,
    SCHEDULES,
    compare_with_numpy,
    ddim_sample,
    dpm_solver_sample,
    network,
    network_jax,
    starting_noise,
)

from ddim_jax.diffusion import (
    DiffusionProcess,
    Schedule,
    cosine_schedule,
    linear_schedule,
    with_zero_terminal_snr,
)
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.sampling_options import SamplingOptions

compare = functools.partial(compare_with_numpy, dpm_solver_sample, numpy_dpm_solver.sample)


@pytest.mark.parametrize(
    ("steps", "prediction", "schedule"), list(itertools.product([1, 3, 50], ["noise", "x0", "v"], SCHEDULES))
)
def test_equals_the_independent_version(steps, prediction, schedule):
    if (prediction, schedule) == ("noise", "cosine to zero"):
        with pytest.raises(ConfigError, match="zero_terminal_snr"):
            compare(steps, prediction=prediction, schedule=schedule)
    else:
        compare(steps, prediction=prediction, schedule=schedule)


@pytest.mark.parametrize("prediction", ["noise", "x0", "v"])
def test_clipped_equals_the_independent_version(prediction):
    compare(7, prediction=prediction, clip=0.5)


def test_float32_stays_float32_and_close():
    ours, bars = SCHEDULES["cosine to zero"]
    _, x0 = numpy_dpm_solver.sample(network, starting_noise(), 50, bars, prediction="v")
    result = dpm_solver_sample(network_jax, jnp.asarray(starting_noise(np.float32)), ours, 50, prediction="v")
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, x0[-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction", ["noise", "x0", "v"])
def test_one_and_two_steps_are_those_of_ddim_and_three_are_not(prediction):
    """The first and the last step are of first order, and DDIM is the first-order solver of this family."""
    with jax.enable_x64(True):
        runs = {
            steps: [
                sample(network_jax, jnp.asarray(starting_noise()), linear_schedule(), steps, prediction=prediction)
                for sample in (dpm_solver_sample, ddim_sample)
            ]
            for steps in (1, 2, 3)
        }
    for steps in (1, 2):
        np.testing.assert_allclose(*runs[steps], rtol=1e-9, atol=1e-9)
    assert np.abs(runs[3][0] - runs[3][1]).max() > 1e-3


def test_from_alpha_bar_zero_the_third_of_four_steps_is_the_first_that_is_not_ddim():
    schedule = with_zero_terminal_snr(cosine_schedule())
    with jax.enable_x64(True):
        paths = [
            sample(network_jax, jnp.asarray(starting_noise()), schedule, 4, prediction="v", return_trajectory=True)[1]
            for sample in (dpm_solver_sample, ddim_sample)
        ]
    np.testing.assert_allclose(paths[0].x_t[:3], paths[1].x_t[:3], rtol=1e-9, atol=1e-9)
    assert np.abs(paths[0].x_t[3] - paths[1].x_t[3]).max() > 1e-3


def test_the_second_order_step_by_hand():
    """lambda = 0, 1, 3 on the way: h' = 1 and h = 2, so D = x_0 + (x_0 - previous x_0)."""
    lam = np.array([4.0, 3.0, 1.0, 0.0])
    bars = 1 / (1 + np.exp(-2 * lam))
    schedule = Schedule(betas=1 - bars / np.append(1.0, bars[:-1]), alpha_bars=bars)
    estimates = jnp.array([9.0, 0.5, -0.25, 2.0])  # at t = 0 .. 3

    def denoise(x, t):
        return jnp.broadcast_to(estimates[t].reshape(-1, 1), x.shape)

    _, trajectory = dpm_solver_sample(denoise, jnp.array([[1.5]]), schedule, 4, prediction="x0", return_trajectory=True)
    a, b = np.sqrt(bars), np.sqrt(1 - bars)
    x1 = b[2] / b[3] * 1.5 + a[2] * (1 - np.exp(-1)) * 2.0
    x2 = b[1] / b[2] * x1 + a[1] * (1 - np.exp(-2)) * (-0.25 + 1.0 * (-0.25 - 2.0))
    x3 = b[0] / b[1] * x2 + a[0] * (1 - np.exp(-1)) * (0.5 + 0.25 * (0.5 + 0.25))
    np.testing.assert_allclose(np.ravel(trajectory.x_t), [1.5, x1, x2, x3, 9.0], rtol=1e-5)


def test_the_trajectory_does_not_change_the_sample():
    noise = jnp.asarray(starting_noise(np.float32))
    plain = dpm_solver_sample(network_jax, noise, linear_schedule(), 7, prediction="x0")
    watched, trajectory = dpm_solver_sample(
        network_jax, noise, linear_schedule(), 7, prediction="x0", return_trajectory=True
    )
    np.testing.assert_allclose(plain, watched, rtol=1e-6)
    np.testing.assert_array_equal(trajectory.x_t[0], noise)


@pytest.mark.parametrize("steps", [1, 1000])
def test_the_program_is_one_scan(steps):
    def program(noise):
        return dpm_solver_sample(network_jax, noise, linear_schedule(), steps, clip_x0=1.0)

    text = str(jax.make_jaxpr(program)(jnp.zeros(SAMPLED)))
    assert re.findall(r"\b(scan|while)\[", text) == ["scan"]
    assert re.findall(r"\btanh\b", text) == ["tanh"]
    assert f"length={steps}" in text


@pytest.mark.parametrize("loss", ["mse", "bce_dice"])
def test_the_process_hands_everything_over(loss):
    process = DiffusionProcess.create(prediction="x0", loss=loss, mask_scale=0.5, noise_schedule="cosine")
    image, noise = jnp.zeros((*SAMPLED[:3], 3)), jnp.asarray(starting_noise(np.float32))
    bars = cosine_alpha_bars(1000)

    def apply(params, noisy_mask, image, t):
        return params * network_jax(noisy_mask, t)

    def denoise(x, t):
        output = 2.0 * network(x / np.sqrt(bars[t] * 0.25 + 1 - bars[t]), t)
        return 0.5 * (2 * expit(output) - 1 if loss == "bce_dice" else output)

    result = process.sample(
        apply, 2.0, image, noise, SamplingOptions(6, sampler="dpm++", clip_x0=0.9), key=jax.random.key(0)
    )
    _, x0 = numpy_dpm_solver.sample(denoise, starting_noise(), 6, bars, prediction="x0", clip=0.45)
    np.testing.assert_allclose(result, x0[-1] / 0.5, rtol=1e-4, atol=1e-5)

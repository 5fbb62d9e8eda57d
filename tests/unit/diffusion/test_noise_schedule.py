"""The schedules and the grid of timesteps."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_ddim import alpha_bars, grid
from numpy_schedules import cosine_alpha_bars, zero_terminal

from ddim_jax.diffusion import (
    Schedule,
    cosine_schedule,
    create_schedule,
    ddim_sample,
    linear_schedule,
    timestep_grid,
    with_zero_terminal_snr,
)
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.sampling_options import SamplingOptions


def test_linear_schedule_by_hand():
    schedule = linear_schedule(3, 0.1, 0.3)
    np.testing.assert_allclose(schedule.betas, [0.1, 0.2, 0.3], rtol=1e-15)
    np.testing.assert_allclose(schedule.alpha_bars, [0.9, 0.9 * 0.8, 0.9 * 0.8 * 0.7], rtol=1e-15)
    assert schedule.num_train_timesteps == 3


def test_default_schedule_is_that_of_ddpm():
    schedule = linear_schedule()
    assert schedule.num_train_timesteps == 1000
    assert schedule.betas.dtype == schedule.alpha_bars.dtype == np.float64
    assert schedule.betas[0] == 1e-4 and schedule.betas[-1] == 0.02
    np.testing.assert_allclose(schedule.alpha_bars, alpha_bars(), rtol=1e-12)
    np.testing.assert_allclose(schedule.alpha_bars[[0, -1]], [0.9999, 4.0358e-5], rtol=1e-4)
    assert np.all(np.diff(schedule.alpha_bars) < 0)


def test_schedules_of_one_timestep_and_of_constant_beta():
    np.testing.assert_array_equal(linear_schedule(1, 0.1, 0.2).alpha_bars, [0.9])
    np.testing.assert_allclose(linear_schedule(3, 0.5, 0.5).alpha_bars, [0.5, 0.25, 0.125])


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((0, 1e-4, 0.02), "diffusion.num_train_timesteps is 0"),
        ((10, 0.0, 0.02), "diffusion.beta_start is 0.0"),
        ((10, 9e-13, 0.02), "diffusion.beta_start is 9e-13 .*; expected 1e-12 <= start <= end < 1"),
        ((10, 0.03, 0.02), "diffusion.beta_start is 0.03 and diffusion.beta_end is 0.02"),
        ((10, 1e-4, 1.0), "diffusion.beta_end is 1.0"),
        ((10, float("nan"), 0.02), "diffusion.beta_start is nan"),
        ((20_000, 1e-4, 0.02), "20000 with .* alpha_bar ends at 1e-88, which float32 cannot divide by"),
        ((1000, 1e-4, 0.95), "diffusion.beta_end 0.95: alpha_bar ends at"),
    ],
)
def test_impossible_schedules_name_the_field(arguments, field):
    with pytest.raises(ConfigError, match=field):
        linear_schedule(*arguments)


@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_the_smallest_betas_give_samples(zero_terminal_snr):
    schedule = create_schedule("linear", 10, 1e-12, 1e-12, zero_terminal_snr)
    noise, options = np.ones((1, 2, 2, 1), np.float32), SamplingOptions(steps=10, eta=0.5)
    drawn = ddim_sample(lambda x_t, t: 0.5 * x_t, noise, schedule, options, prediction="x0", key=jax.random.key(0))
    assert np.isfinite(drawn).all()
    with pytest.raises(ConfigError, match=r"diffusion\.beta_start is 1e-17"):
        create_schedule("linear", 10, 1e-17, 0.02, zero_terminal_snr)


def test_cosine_schedule_by_hand():
    # f(k) = cos^2((k/2 + .008) / 1.008 * 90 degrees): f(0) = cos^2(0.7143 deg), f(1) = cos^2(45.3571 deg), f(2) = 0
    schedule = cosine_schedule(2)
    np.testing.assert_allclose(schedule.alpha_bars, [0.493844, 0.493844e-3], rtol=1e-5)
    np.testing.assert_allclose(schedule.betas, [1 - 0.493844, 0.999], rtol=1e-5)


@pytest.mark.parametrize("timesteps", [1, 7, 1000])
def test_cosine_schedule_at_every_timestep(timesteps):
    schedule = cosine_schedule(timesteps)
    assert schedule.betas.dtype == schedule.alpha_bars.dtype == np.float64
    np.testing.assert_allclose(schedule.alpha_bars, cosine_alpha_bars(timesteps), rtol=1e-9)
    assert schedule.num_train_timesteps == timesteps and np.all(np.diff(schedule.alpha_bars) < 0)
    assert schedule.betas[-1] == 0.999 and np.all(schedule.betas > 0)


def test_zero_terminal_snr_by_hand():
    # sqrt(alpha_bar) = .9, .6, .3 less .3 is .6, .3, 0; times .9/.6 it is .9, .45, 0
    bars = np.array([0.81, 0.36, 0.09])
    schedule = with_zero_terminal_snr(Schedule(betas=1 - bars / np.append(1.0, bars[:-1]), alpha_bars=bars))
    np.testing.assert_allclose(schedule.alpha_bars, [0.81, 0.2025, 0.0], rtol=1e-12)
    np.testing.assert_allclose(schedule.betas, [0.19, 0.75, 1.0], rtol=1e-12)


@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize("timesteps", [2, 50, 1000])
def test_zero_terminal_snr(timesteps, name):
    plain, schedule = (create_schedule(name, timesteps, zero_terminal_snr=zero) for zero in (False, True))
    assert schedule.alpha_bars[-1] == 0.0 and schedule.betas[-1] == 1.0
    assert schedule.alpha_bars[0] == plain.alpha_bars[0] and schedule.betas[0] == pytest.approx(plain.betas[0])
    assert np.all(np.diff(schedule.alpha_bars) < 0)
    np.testing.assert_allclose(schedule.alpha_bars, zero_terminal(plain.alpha_bars), rtol=1e-9)
    np.testing.assert_allclose(np.cumprod(1 - schedule.betas), schedule.alpha_bars, rtol=1e-9)
    assert np.all((schedule.betas > 0) & (schedule.betas <= 1))


def test_create_schedule_takes_the_betas_for_the_linear_one_alone():
    np.testing.assert_array_equal(create_schedule("linear", 3, 0.1, 0.3).betas, linear_schedule(3, 0.1, 0.3).betas)
    np.testing.assert_array_equal(create_schedule("cosine", 3, 0.1, 0.3).betas, cosine_schedule(3).betas)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "sigmoid"}, "diffusion.noise_schedule is 'sigmoid'; expected one of linear, cosine"),
        ({"zero_terminal_snr": "no"}, "diffusion.zero_terminal_snr is 'no'; expected true or false"),
        ({"name": "cosine", "num_train_timesteps": 0}, "diffusion.num_train_timesteps is 0; .* at least 1"),
        ({"num_train_timesteps": 10.0}, "diffusion.num_train_timesteps is 10.0; expected a whole number"),
        (
            {"num_train_timesteps": 1, "zero_terminal_snr": True},
            "diffusion.num_train_timesteps is 1; expected at least 2 with diffusion.zero_terminal_snr",
        ),
    ],
)
def test_schedules_that_cannot_be_name_the_field(arguments, message):
    with pytest.raises(ConfigError, match=message):
        create_schedule(**arguments)


@pytest.mark.parametrize(
    ("timesteps", "steps", "expected"),
    [
        (1000, 1, [999]),
        (1000, 4, [999, 749, 499, 249]),
        # 1000/7 = 142.857: offsets 0, 142.9, 285.7, 428.6, 571.4, 714.3, 857.1
        (1000, 7, [999, 856, 713, 570, 428, 285, 142]),
        (10, 4, [9, 6, 4, 1]),  # offsets 0, 2.5, 5, 7.5: halves up
        (5, 5, [4, 3, 2, 1, 0]),
        (1, 1, [0]),
    ],
)
def test_grid_by_hand(timesteps, steps, expected):
    result = timestep_grid(timesteps, steps)
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, expected)


def test_the_papers_grid_of_50_steps_and_the_full_one():
    np.testing.assert_array_equal(timestep_grid(1000, 50), np.arange(999, -1, -20))
    np.testing.assert_array_equal(timestep_grid(1000, 1000), np.arange(999, -1, -1))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(1, 4000).flatmap(lambda total: st.tuples(st.just(total), st.integers(1, total))))
def test_grid_properties(case):
    timesteps, steps = case
    result = timestep_grid(timesteps, steps)
    assert result.dtype == np.int32 and result.shape == (steps,)
    assert result[0] == timesteps - 1
    assert result[-1] >= 0
    assert np.all(np.diff(result) < 0)
    # Even: no gap differs from another by more than one.
    gaps = -np.diff(result, append=-1)[:-1]
    assert steps == 1 or gaps.max() - gaps.min() <= 1
    np.testing.assert_array_equal(result, grid(timesteps, steps))
    if timesteps % steps == 0:
        np.testing.assert_array_equal(result, timesteps - 1 - timesteps // steps * np.arange(steps))


@pytest.mark.parametrize("steps", [0, -1, 11, 2.0, 2.5, True, "3", None])
def test_steps_outside_the_schedule_are_refused(steps):
    with pytest.raises(ConfigError, match=f"sample.steps is {steps!r}; expected a whole number from 1 to 10"):
        timestep_grid(10, steps)

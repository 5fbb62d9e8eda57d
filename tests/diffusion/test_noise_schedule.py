"""The linear schedule and the grid of timesteps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_ddim import alpha_bars, grid

from ddim_jax.diffusion import linear_schedule, timestep_grid
from ddim_jax.io.errors import ConfigError


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
        ((10, 0.03, 0.02), "diffusion.beta_start is 0.03 and diffusion.beta_end is 0.02"),
        ((10, 1e-4, 1.0), "diffusion.beta_end is 1.0"),
        ((10, float("nan"), 0.02), "diffusion.beta_start is nan"),
    ],
)
def test_impossible_schedules_name_the_field(arguments, field):
    with pytest.raises(ConfigError, match=field):
        linear_schedule(*arguments)


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


@pytest.mark.parametrize("steps", [0, -1, 11])
def test_steps_outside_the_schedule_are_refused(steps):
    with pytest.raises(ConfigError, match=f"sample.steps is {steps}; expected a whole number from 1 to 10"):
        timestep_grid(10, steps)

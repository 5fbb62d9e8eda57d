"""A process made of the fields of a config, and the timesteps it trains at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_schedules import cosine_alpha_bars, zero_terminal
from scipy import stats

from ddim_jax.diffusion import DiffusionProcess
from ddim_jax.registry import LOSSES
from ddim_jax.runtime.errors import ConfigError


def test_uniform_timesteps():
    t = DiffusionProcess.create().draw_timesteps(jax.random.key(0), (100_000,))
    assert t.dtype == jnp.int32
    np.testing.assert_allclose(np.mean(t), 499.5, atol=3.0)  # one standard error is 0.9
    assert np.min(t) == 0 and np.max(t) == 999


def test_power_two_prefers_large_timesteps():
    t = DiffusionProcess.create(timestep_power=2.0).draw_timesteps(jax.random.key(1), (100_000,))
    np.testing.assert_allclose(np.mean(np.asarray(t) < 500), 0.25, atol=0.005)  # one standard error is 0.0014
    np.testing.assert_allclose(np.mean(t), 2 / 3 * 1000 - 0.5, atol=3.0)


@pytest.mark.parametrize(("power", "sixteenths"), [(1.0, [4, 4, 4, 4]), (2.0, [1, 3, 5, 7])])
def test_the_density_of_timesteps_by_hand(power, sixteenths):
    """P(t = k) = ((k + 1) / T)^power - (k / T)^power, here with T = 4; chi-squared at one in a thousand."""
    process = DiffusionProcess.create(num_train_timesteps=4, timestep_power=power)
    t = process.draw_timesteps(jax.random.key(2), (200, 100))
    counts = np.bincount(np.ravel(t), minlength=4)
    assert t.shape == (200, 100) and len(counts) == 4
    assert stats.chisquare(counts, 20_000 * np.array(sixteenths) / 16).pvalue > 1e-3


def test_create_takes_the_fields_of_the_config():
    process = DiffusionProcess.create(num_train_timesteps=3, beta_start=0.1, beta_end=0.3, prediction="x0")
    np.testing.assert_allclose(process.schedule.betas, [0.1, 0.2, 0.3])
    assert (process.prediction, process.loss, process.mask_scale, process.timestep_power) == ("x0", "mse", 1.0, 1.0)
    process = DiffusionProcess.create(
        prediction="v", noise_schedule="cosine", zero_terminal_snr=True, loss_weight="min_snr"
    )
    np.testing.assert_allclose(process.schedule.alpha_bars, zero_terminal(cosine_alpha_bars(1000)), rtol=1e-9)
    assert (process.prediction, process.loss_weight) == ("v", "min_snr")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prediction": "eps"}, "diffusion.prediction is 'eps'; expected one of noise, x0, v"),
        (
            {"prediction": "noise", "zero_terminal_snr": True},
            "diffusion.prediction is 'noise' and diffusion.zero_terminal_snr is true.*prediction 'x0' or 'v'",
        ),
        ({"loss_weight": "p2"}, "diffusion.loss_weight is 'p2'; expected one of plain, min_snr"),
        ({"noise_schedule": "sigmoid"}, "diffusion.noise_schedule is 'sigmoid'; expected one of linear, cosine"),
        ({"loss": "bce_dice", "prediction": "v"}, "diffusion.loss 'bce_dice' .* needs prediction 'x0', not 'v'"),
        ({"loss": "mae"}, f"diffusion.loss is 'mae'; expected one of {', '.join(('mse', *LOSSES))}"),
        ({"loss": "bce_dice"}, "diffusion.loss 'bce_dice' .* needs prediction 'x0', not 'noise'"),
        ({"mask_scale": 0.0}, "diffusion.mask_scale is 0.0"),
        ({"mask_scale": 1.5}, "diffusion.mask_scale is 1.5"),
        ({"timestep_power": 0.5}, "diffusion.timestep_power is 0.5"),
        ({"num_train_timesteps": 0}, "diffusion.num_train_timesteps is 0"),
        ({"num_train_timesteps": 10**12}, "diffusion.num_train_timesteps is 1000000000000; .* at most 100000"),
        ({"beta_end": 2.0}, "diffusion.beta_end is 2.0"),
        ({"beta_start": "0.1"}, "diffusion.beta_start is '0.1'"),
        ({"mask_scale": "1"}, "diffusion.mask_scale is '1'"),
        ({"timestep_power": float("inf")}, "diffusion.timestep_power is inf"),
        ({"timestep_power": None}, "diffusion.timestep_power is None"),
        ({"foresight": 1, "bets": 2}, "diffusion has no field 'bets', 'foresight'"),
    ],
)
def test_impossible_fields_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        DiffusionProcess.create(**fields)

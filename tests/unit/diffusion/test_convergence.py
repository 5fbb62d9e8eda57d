"""The order with which each sampler approaches a solution that is known.

The data are x_0 ~ N(0, s^2). Then x_t has the variance V = alpha_bar s^2 + 1 - alpha_bar, the best estimate of x_0 is
sqrt(alpha_bar) s^2 x_t / V, DDIM's differential equation carries x_t to x_t sqrt(V' / V) where the variance is V', and
random samples have to arrive at that variance.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stand_ins import ddim_sample, ddpm_sample, dpm_solver_sample

from ddim_jax.diffusion import (
    Schedule,
    cosine_schedule,
    linear_schedule,
    timestep_grid,
    with_zero_terminal_snr,
)

STEPS = (32, 64, 128, 256)


def even_schedule():
    """log(sqrt(alpha_bar) / sqrt(1 - alpha_bar)) from 4 to -3 in equal steps, so that every grid is even in it."""
    bars = 1 / (1 + np.exp(-2 * np.linspace(4.0, -3.0, 4096)))
    return Schedule(betas=1 - bars / np.append(1.0, bars[:-1]), alpha_bars=bars)


def variance_of(alpha_bar, s):
    return alpha_bar * s**2 + 1 - alpha_bar


def exact(schedule, s):
    bars = jnp.asarray(schedule.alpha_bars)

    def denoise(x, t):
        bar = bars[t].reshape(-1, 1)
        return jnp.sqrt(bar) * s**2 * x / variance_of(bar, s)

    return denoise


def path(sampler, schedule, steps, s, start, **options):
    with jax.enable_x64(True):
        _, trajectory = sampler(
            exact(schedule, s), jnp.asarray(start), schedule, steps, prediction="x0", return_trajectory=True, **options
        )
        return np.asarray(trajectory.x_t)[..., 0]


def orders(errors):
    """Orders, one from each pair of neighbours: log2 of how much smaller the error is with twice the steps."""
    errors = np.abs(errors)
    return np.log2(errors[:-1] / errors[1:])


def errors_of_the_equation(sampler, schedule, s, *, at_the_end, steps=STEPS):
    bars = schedule.alpha_bars
    found = []
    for count in steps:
        x_t = path(sampler, schedule, count, s, [[1.0]])
        place, bar = (-1, 1.0) if at_the_end else (-2, bars[timestep_grid(len(bars), count)[-1]])
        found.append(x_t[place, 0] - np.sqrt(variance_of(bar, s) / variance_of(bars[-1], s)))
    return np.array(found)


@pytest.mark.parametrize("s", [0.5, 2.0])
@pytest.mark.parametrize(("sampler", "order"), [(ddim_sample, 1.0), (dpm_solver_sample, 2.0)])
def test_the_order_of_a_solver_of_the_equation(sampler, order, s):
    """At the last timestep visited: one more step leads out of the range in which the grid is even."""
    errors = errors_of_the_equation(sampler, even_schedule(), s, at_the_end=False)
    assert np.all(np.abs(errors) > 1e-7)  # or rounding would be what is measured
    np.testing.assert_allclose(orders(errors), order, atol=0.05)


@pytest.mark.parametrize(
    "schedule",
    [linear_schedule(1024), cosine_schedule(1024), with_zero_terminal_snr(cosine_schedule(1024))],
    ids=["linear", "cosine", "cosine to zero"],
)
def test_whole_samples_with_the_schedules_in_use(schedule):
    """To the clean sample, on grids that are even in t: the last steps are long ones, and the order is below 2."""
    first = errors_of_the_equation(ddim_sample, schedule, 2.0, at_the_end=True)
    second = errors_of_the_equation(dpm_solver_sample, schedule, 2.0, at_the_end=True)
    np.testing.assert_allclose(orders(first), 1.0, atol=0.05)
    assert np.all(orders(second) > 1.5)
    assert abs(second[0]) < abs(first[2])  # 32 evaluations against 128


def variance_reached(sampler, schedule, steps, s, **options):
    """Without drawing many samples: each step is a x_t + b z, and two paths whose z are known give a and b."""
    key = jax.random.key(0)
    x = path(sampler, schedule, steps, s, [[0.3], [-1.1]], key=key, **options)
    with jax.enable_x64(True):
        draws = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(key, k), (2, 1)))(jnp.arange(steps))
    z = np.asarray(draws, np.float64)[..., 0]
    variance = variance_of(schedule.alpha_bars[-1], s)
    for k in range(steps - 1):
        a, b = np.linalg.solve(np.stack([x[k], z[k]], axis=1), x[k + 1])
        variance = a**2 * variance + b**2
    return variance


@pytest.mark.parametrize("s", [0.5, 2.0])
@pytest.mark.parametrize(
    ("sampler", "options"), [(ddpm_sample, {}), (ddim_sample, {"eta": 0.5})], ids=["ddpm", "ddim, eta 0.5"]
)
def test_the_variance_of_random_samples_is_of_first_order(sampler, options, s):
    schedule = even_schedule()
    errors = []
    for steps in STEPS:
        last = schedule.alpha_bars[timestep_grid(4096, steps)[-1]]
        errors.append(variance_reached(sampler, schedule, steps, s, **options) - variance_of(last, s))
    np.testing.assert_allclose(orders(np.array(errors)), 1.0, atol=0.15)

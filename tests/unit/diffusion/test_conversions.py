"""From each of the three predictions to the clean mask and the noise, and the same step from each of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stand_ins import ddim_sample, ddpm_sample, dpm_solver_sample

from ddim_jax.diffusion import (
    PREDICTIONS,
    Schedule,
    cosine_schedule,
    linear_schedule,
    v_from_x0_and_noise,
    with_zero_terminal_snr,
    x0_and_noise,
)
from ddim_jax.runtime.errors import ConfigError

SHAPE = (2, 3, 4, 1)
SCHEDULES = {
    "linear": linear_schedule(),
    "cosine": cosine_schedule(),
    "cosine to zero": with_zero_terminal_snr(cosine_schedule()),
}
SAMPLERS = {
    "ddim": (ddim_sample, {}),
    "ddim, eta 0.6": (ddim_sample, {"eta": 0.6, "key": jax.random.key(3)}),
    "ddpm": (ddpm_sample, {"key": jax.random.key(3)}),
    "dpm++": (dpm_solver_sample, {}),
}


def test_by_hand():
    # alpha_bar = 0.64: x_t = .8 x_0 + .6 eps and v = .8 eps - .6 x_0, with x_0 = -1 and eps = 2.
    assert v_from_x0_and_noise(-1.0, 2.0, 0.8, 0.6) == pytest.approx(2.2)
    for prediction, output in (("noise", 2.0), ("x0", -1.0), ("v", 2.2)):
        assert x0_and_noise(prediction, output, 0.4, 0.8, 0.6) == pytest.approx((-1.0, 2.0)), prediction


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_v_is_exact_to_the_last_digits_of_float32_at_every_timestep(schedule):
    """A rotation there and back: no digit is lost anywhere, not even where one of the two rates vanishes."""
    rng = np.random.default_rng(0)
    x0, noise = (jnp.asarray(a, jnp.float32) for a in rng.normal(size=(2, 1000, 50)))
    bars = schedule.alpha_bars[:, None]
    signal, rate = (jnp.asarray(np.sqrt(a), jnp.float32) for a in (bars, 1 - bars))
    v = v_from_x0_and_noise(x0, noise, signal, rate)
    again_x0, again_noise = x0_and_noise("v", v, signal * x0 + rate * noise, signal, rate)
    np.testing.assert_allclose(again_x0, x0, atol=2e-6)
    np.testing.assert_allclose(again_noise, noise, atol=2e-6)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_every_prediction_gives_the_pair_back(schedule):
    rng = np.random.default_rng(1)
    x0, noise = rng.normal(size=(2, 1000, 5))
    signal, rate = np.sqrt(schedule.alpha_bars)[:, None], np.sqrt(1 - schedule.alpha_bars)[:, None]
    x_t = signal * x0 + rate * noise
    for prediction, output in (("noise", noise), ("x0", x0), ("v", signal * noise - rate * x0)):
        rows = slice(0, 999 if prediction == "noise" else 1000)  # the last x_t may be noise alone
        found = x0_and_noise(prediction, output[rows], x_t[rows], signal[rows], rate[rows])
        np.testing.assert_allclose(found[0], x0[rows], rtol=1e-9, atol=1e-9, err_msg=prediction)
        np.testing.assert_allclose(found[1], noise[rows], rtol=1e-9, atol=1e-9, err_msg=prediction)


def answers(schedule, prediction):
    """One denoiser, its estimate of x_0 some smooth function, put into the terms of `prediction`."""
    bars = jnp.asarray(schedule.alpha_bars)

    def denoise(x, t):
        bar = bars[t].reshape(-1, 1, 1, 1).astype(x.dtype)
        signal, rate = jnp.sqrt(bar), jnp.sqrt(1 - bar)
        x0 = jnp.tanh(0.8 * x + jnp.sin(t.astype(x.dtype) / 150.0).reshape(-1, 1, 1, 1))
        noise = (x - signal * x0) / rate
        return {"noise": noise, "x0": x0, "v": signal * noise - rate * x0}[prediction]

    return denoise


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("schedule", "clip"), [("linear", None), ("cosine", 0.5), ("cosine to zero", None)])
def test_the_three_predictions_take_the_same_steps(sampler, schedule, clip):
    function, options = SAMPLERS[sampler]
    schedule = SCHEDULES[schedule]
    with jax.enable_x64(True):
        start = jnp.asarray(np.random.default_rng(2).normal(size=SHAPE))
        results = {}
        for prediction in PREDICTIONS[1:] if schedule.alpha_bars[-1] == 0 else PREDICTIONS:
            _, results[prediction] = function(
                answers(schedule, prediction),
                start,
                schedule,
                5,
                prediction=prediction,
                clip_x0=clip,
                return_trajectory=True,
                **options,
            )
    for prediction, trajectory in results.items():
        for name, expected in results["x0"]._asdict().items():
            actual = getattr(trajectory, name)
            assert np.isfinite(actual).all()
            np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9, err_msg=f"{prediction} {name}")


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_three_predictions_take_the_same_float32_step(sampler):
    """One pair (x_0, eps), where both rates are large and no conversion loses digits."""
    function, options = SAMPLERS[sampler]
    schedule = Schedule(betas=np.array([0.2, 0.375]), alpha_bars=np.array([0.8, 0.5]))
    x0, noise = (jnp.asarray(a, jnp.float32) for a in np.random.default_rng(5).normal(size=(2, *SHAPE)))
    signal = rate = float(np.sqrt(0.5))
    outputs = {"noise": noise, "x0": x0, "v": signal * noise - rate * x0}
    seen = [
        function(
            lambda x, t, output=output: output,
            signal * x0 + rate * noise,
            schedule,
            2,
            prediction=prediction,
            return_trajectory=True,
            **options,
        )[1].x_t[1]
        for prediction, output in outputs.items()
    ]
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(seen[2], seen[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_noise_is_refused_where_the_schedule_ends_at_zero(sampler):
    function, options = SAMPLERS[sampler]
    schedule = with_zero_terminal_snr(linear_schedule())
    with pytest.raises(ConfigError, match=r"diffusion.prediction is 'noise' and diffusion.zero_terminal_snr is true"):
        function(lambda x, t: x, jnp.zeros(SHAPE), schedule, 2, prediction="noise", **options)

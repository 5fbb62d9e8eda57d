"""Sampling of masks, in their own units, with stand-ins for the network whose answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy_ddim
import pytest
from numpy_schedules import cosine_alpha_bars, zero_terminal
from scipy.special import expit
from stand_ins import batch, some_network, some_network_numpy

from ddim_jax.diffusion import DiffusionProcess
from ddim_jax.registry import SAMPLERS
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.sampling_options import SamplingOptions


@pytest.mark.parametrize("mask_scale", [1.0, 0.1])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("fields", [{"prediction": name} for name in ("noise", "x0", "v")], ids=["noise", "x0", "v"])
def test_one_clean_mask_is_recovered_in_its_own_units(fields, mask_scale, eta):
    """The exact answer for data that are one mask, from the rescaled input: sampler and scaling have to agree."""
    mask, image, noise = batch()
    bars = jnp.asarray(numpy_ddim.alpha_bars(), jnp.float32)

    def exact(params, network_input, image, t):
        if fields["prediction"] == "x0":
            return jnp.asarray(mask)
        bar = bars[t].reshape(-1, 1, 1, 1)
        norm = jnp.sqrt(bar * mask_scale**2 + 1 - bar)
        noise = (network_input * norm - jnp.sqrt(bar) * mask_scale * mask) / jnp.sqrt(1 - bar)
        if fields["prediction"] == "v":
            return (jnp.sqrt(bar) * mask_scale * noise - jnp.sqrt(1 - bar) * mask) / norm
        return noise

    process = DiffusionProcess.create(mask_scale=mask_scale, **fields)
    result, trajectory = process.sample(
        exact,
        None,
        jnp.asarray(image),
        jnp.asarray(noise),
        SamplingOptions(5, eta=eta),
        key=jax.random.key(0),
        return_trajectory=True,
    )
    np.testing.assert_allclose(result, mask, atol=5e-3)
    np.testing.assert_allclose(trajectory.x0[-1], mask, atol=5e-3)
    np.testing.assert_allclose(trajectory.x_t[-1], mask_scale * mask, atol=5e-4)
    np.testing.assert_array_equal(trajectory.x_t[0], noise)


@pytest.mark.parametrize("loss", ["mse", "bce_dice"])
@pytest.mark.parametrize("clip", [None, 0.6])
def test_sampling_equals_the_independent_version(loss, clip):
    scale = 0.2
    process = DiffusionProcess.create(prediction="x0", loss=loss, mask_scale=scale)
    _, image, noise = batch()
    bars = numpy_ddim.alpha_bars()

    def denoise(x, t):
        output = some_network_numpy(2.0, x / np.sqrt(bars[t] * scale**2 + 1 - bars[t]), image.astype(np.float64), t)
        return scale * (2 * expit(output) - 1 if loss == "bce_dice" else output)

    bound = None if clip is None else clip * scale  # the bound is in units of the mask
    _, x0 = numpy_ddim.sample(denoise, noise, 4, prediction="x0", clip=bound)
    result = process.sample(some_network, 2.0, jnp.asarray(image), jnp.asarray(noise), SamplingOptions(4, clip_x0=clip))
    np.testing.assert_allclose(result, x0[-1] / scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("mask_scale", [1.0, 0.2])
def test_v_and_x0_take_the_same_steps_down_to_one_from_pure_noise(mask_scale, sampler):
    """One underlying estimate of the mask, told as x0 and as v, with a schedule that ends at alpha_bar = 0."""
    bars = jnp.asarray(zero_terminal(cosine_alpha_bars(1000)), jnp.float32)
    _, image, noise = batch()

    def mask_of(params, network_input, image, t):
        return jnp.tanh(network_input + image[..., :1])

    def v_of(params, network_input, image, t):
        bar = bars[t].reshape(-1, 1, 1, 1)
        signal, rate = mask_scale * jnp.sqrt(bar), jnp.sqrt(1 - bar)
        signal, rate = (a / jnp.sqrt(mask_scale**2 * bar + 1 - bar) for a in (signal, rate))
        mask = mask_of(params, network_input, image, t)
        return signal * (network_input - signal * mask) / rate - rate * mask

    fields = {"mask_scale": mask_scale, "noise_schedule": "cosine", "zero_terminal_snr": True}
    for steps in (1, 2, 5):
        results = [
            DiffusionProcess.create(prediction=prediction, **fields).sample(
                network,
                None,
                jnp.asarray(image),
                jnp.asarray(noise),
                SamplingOptions(steps, sampler=sampler),
                key=jax.random.key(1),
            )
            for prediction, network in (("x0", mask_of), ("v", v_of))
        ]
        assert np.isfinite(results[0]).all()
        np.testing.assert_allclose(results[1], results[0], rtol=1e-4, atol=1e-4)
        if steps == 1:
            np.testing.assert_allclose(results[0], np.tanh(noise + image[..., :1]), rtol=1e-5)


@pytest.mark.parametrize("clip", [0.0, -1.0])
def test_a_bound_that_is_not_positive_is_refused_in_units_of_the_mask(clip):
    _, image, noise = batch()
    process = DiffusionProcess.create(prediction="x0", mask_scale=0.1)
    with pytest.raises(ConfigError, match=f"sample.clip_x0 is {clip}; expected None"):
        process.sample(some_network, 2.0, image, jnp.asarray(noise), SamplingOptions(2, clip_x0=clip))


def test_clipping_is_in_units_of_the_mask():
    process = DiffusionProcess.create(prediction="x0", mask_scale=0.1)
    _, image, noise = batch()

    def sure(params, noisy_mask, image, t):
        return jnp.full(noisy_mask.shape, 3.0)

    np.testing.assert_allclose(
        process.sample(sure, None, image, jnp.asarray(noise), SamplingOptions(2)), 3.0, rtol=1e-6
    )
    np.testing.assert_allclose(
        process.sample(sure, None, image, jnp.asarray(noise), SamplingOptions(2, clip_x0=1.0)), 1.0, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        (lambda noise: noise[..., :1, :], r"float32 \[3, 4, 1, 1\]"),
        (lambda noise: noise.astype(jnp.bfloat16), r"bfloat16 \[3, 4, 5, 1\]"),
        (lambda noise: None, "NoneType"),
    ],
)
def test_a_sampler_that_returns_something_else_than_masks_is_refused_by_name(returned, found, monkeypatch):
    monkeypatch.setitem(SAMPLERS._entries, "bad", lambda denoise, noise, *rest, **given: returned(noise))
    _, image, noise = batch()
    expected = rf"the sampler 'bad' returns {found}; expected float32 \[3, 4, 5, 1\]"
    with pytest.raises(ConfigError, match=expected):
        DiffusionProcess.create().sample(
            some_network, 2.0, image, jnp.asarray(noise), SamplingOptions(2, sampler="bad")
        )

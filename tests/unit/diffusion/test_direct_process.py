"""Segmentation in one pass: what the network is given, and how its answer is scored and read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, xlog1py, xlogy

from ddim_jax.diffusion import DirectProcess
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.sampling_options import SamplingOptions

rng = np.random.default_rng(0)
MASK = rng.choice([-1.0, 1.0], (3, 4, 5, 1)).astype(np.float32)
IMAGE = rng.uniform(-1.0, 1.0, (3, 4, 5, 3)).astype(np.float32)


def network(params, image):
    return params * (image[..., :1] - image[..., 1:2])


def test_the_loss_is_cross_entropy_plus_dice_of_each_example():
    noise, t = jnp.full(MASK.shape, jnp.nan), jnp.zeros(3, jnp.int32)  # neither is looked at
    result = DirectProcess().losses(network, 3.0, jnp.asarray(MASK), jnp.asarray(IMAGE), noise, t)
    truth, p = (MASK.astype(float) + 1) / 2, expit(network(3.0, IMAGE.astype(float)))
    entropy = -np.mean(xlogy(truth, p) + xlog1py(1 - truth, -p), axis=(1, 2, 3))
    dice = (2 * np.sum(p * truth, axis=(1, 2, 3)) + 1) / (np.sum(p + truth, axis=(1, 2, 3)) + 1)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, entropy + 1 - dice, rtol=1e-5)


def test_the_calibrated_probability_of_a_sample_is_the_sigmoid():
    options = SamplingOptions(1, sampler=None)
    sample = DirectProcess().sample(network, 3.0, jnp.asarray(IMAGE), jnp.full(MASK.shape, jnp.nan), options, key=None)
    np.testing.assert_allclose((sample + 1) / 2, expit(network(3.0, IMAGE.astype(float))), atol=1e-6)
    with pytest.raises(ConfigError, match=r"sample.steps is 2; expected 1"):
        DirectProcess().sample(network, 3.0, IMAGE, MASK, SamplingOptions(2, sampler=None))


def test_there_is_one_timestep():
    assert DirectProcess().num_train_timesteps == 1
    np.testing.assert_array_equal(DirectProcess().draw_timesteps(jax.random.key(0), (4,)), np.zeros(4))
    np.testing.assert_array_equal(DirectProcess().timesteps_at(np.array([0.0, 0.5, 1.0])), np.zeros(3))


def test_fields_of_a_diffusion_are_refused():
    assert DirectProcess.create(loss=None, mask_scale=None) == DirectProcess()
    with pytest.raises(ConfigError, match=r"diffusion.mask_scale is 0.1, but this network gives the mask in one pass"):
        DirectProcess.create(loss=None, mask_scale=0.1)

"""Group normalisation against its definition in float64, two passes, where one pass in float32 could go wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddim_jax.ops import group_norm


def definition(x, scale, bias, groups, eps=1e-6, silu=False, xp=np):
    """(x - mean) / sqrt(variance + eps) over the pixels and channels of each group; `xp` is numpy or jax.numpy."""
    x = xp.asarray(x, xp.float64)
    grouped = x.reshape(*x.shape[:3], groups, -1)
    mean = xp.mean(grouped, axis=(1, 2, 4), keepdims=True)
    variance = xp.mean((grouped - mean) ** 2, axis=(1, 2, 4), keepdims=True)
    y = ((grouped - mean) / xp.sqrt(variance + eps)).reshape(x.shape) * scale + bias
    return y / (1.0 + xp.exp(-y)) if silu else y


def inputs(mean=0.0, deviation=1.0, shape=(2, 5, 7, 12), seed=0):
    rng = np.random.default_rng(seed)
    x = (mean + deviation * rng.normal(size=shape)).astype(np.float32)
    scale, bias = rng.normal(size=(2, shape[-1])).astype(np.float32)
    return x, scale, bias


@pytest.mark.parametrize("groups", [1, 3, 12])
@pytest.mark.parametrize("silu", [False, True])
def test_equals_the_definition(groups, silu):
    x, scale, bias = inputs(mean=0.5, deviation=2.0)
    y = group_norm(x, scale, bias, groups=groups, silu=silu)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, definition(x, scale, bias, groups, silu=silu), rtol=1e-5, atol=1e-5)


def test_by_hand():
    x = np.zeros((1, 1, 2, 4), np.float32)
    x[0, 0, :, :2] = [[1, 3], [5, 7]]  # group 0: mean 4, variance 5
    x[0, 0, :, 2:] = [[-1, 1], [1, -1]]  # group 1: mean 0, variance 1
    y = group_norm(x, jnp.array([1.0, 1.0, 1.0, 2.0]), jnp.array([0.0, 0.0, 10.0, 0.0]), groups=2, eps=3.0)
    root8 = 8**0.5
    expected = [[-3 / root8, -1 / root8, 9.5, 1.0], [1 / root8, 3 / root8, 10.5, -1.0]]
    np.testing.assert_allclose(y[0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("mean", "deviation"),
    [(100.0, 1.0), (1e4, 1.0), (-1e4, 0.1), (100.0, 0.01), (0.0, 1e-2), (0.0, 1e4)],
)
def test_large_mean_and_small_variance(mean, deviation):
    x, _, _ = inputs(mean, deviation, shape=(2, 16, 16, 8))
    y = group_norm(x, jnp.ones(8), jnp.zeros(8), groups=2)
    np.testing.assert_allclose(y, definition(x, 1.0, 0.0, 2), atol=1e-5)


def test_channels_of_one_group_far_apart():
    x, scale, bias = inputs(shape=(2, 8, 8, 4))
    x += np.array([0.0, 1e3, -1e3, 5e2], np.float32)
    y = group_norm(x, scale, bias, groups=1)
    np.testing.assert_allclose(y, definition(x, scale, bias, 1), rtol=1e-4, atol=1e-5)


def test_the_corner_pixel_may_be_an_outlier():
    x, scale, bias = inputs(shape=(2, 16, 16, 4))
    x[:, 0, 0] = 1e4
    y = group_norm(x, scale, bias, groups=2)
    np.testing.assert_allclose(y, definition(x, scale, bias, 2), rtol=1e-3, atol=1e-4)


def test_a_constant_picture_becomes_the_bias():
    x = jnp.full((1, 4, 4, 4), 3.0)
    bias = jnp.array([0.0, 1.0, -1.0, 2.0])
    np.testing.assert_array_equal(group_norm(x, jnp.ones(4), bias, groups=2), np.broadcast_to(bias, x.shape))
    gradient = jax.grad(lambda x: jnp.sum(group_norm(x, jnp.ones(4), bias, groups=2) ** 2))(x)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("silu", [False, True])
def test_bfloat16_in_and_out_with_float32_inside(silu):
    x, scale, bias = inputs(mean=3.0, deviation=0.5)
    x = jnp.asarray(x, jnp.bfloat16)
    y = group_norm(x, scale, bias, groups=3, silu=silu)
    assert y.dtype == jnp.bfloat16
    expected = definition(x.astype(jnp.float32), scale, bias, 3, silu=silu)
    # Nothing but the last rounding to 8 significant bits.
    np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("mean", [0.3, 1e3])
def test_gradients(silu, mean):
    x, scale, bias = inputs(mean=mean)
    weights = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)

    def own(x, scale, bias):
        return jnp.sum(weights * group_norm(x, scale, bias, groups=3, silu=silu))

    def plain(x, scale, bias):
        return jnp.sum(weights * definition(x, scale, bias, 3, silu=silu, xp=jnp))

    gradients = jax.jit(jax.grad(own, argnums=(0, 1, 2)))(x, scale, bias)
    with jax.enable_x64(True):
        doubles = [np.asarray(a, np.float64) for a in (x, scale, bias)]
        expected = jax.jit(jax.grad(plain, argnums=(0, 1, 2)))(*doubles)
    for name, got, want in zip(("x", "scale", "bias"), gradients, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max(), err_msg=name)


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="5 groups do not divide 12 channels"):
        group_norm(jnp.zeros((1, 2, 2, 12)), jnp.ones(12), jnp.zeros(12), groups=5)

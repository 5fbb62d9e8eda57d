"""The compiled normalisation against float64, and its values that are not finite against the form without kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_cpu_kernels import with_gradients

from ddim_jax.ops import cpu_kernels
from ddim_jax.ops.group_norm import _one_pass

pytestmark = pytest.mark.needs_kernels


def exact(x, scale, bias, cotangent, groups, silu):
    """The normalisation with the gradients of x, scale and bias, in NumPy and float64."""
    x, scale, bias, cotangent = (values.astype(np.float64) for values in (x, scale, bias, cotangent))

    def mean(values):
        grouped = values.reshape(*values.shape[:3], groups, -1)
        return np.broadcast_to(grouped.mean((1, 2, 4), keepdims=True), grouped.shape).reshape(values.shape)

    deviation = np.sqrt(mean((x - mean(x)) ** 2) + 1e-6)
    normal = (x - mean(x)) / deviation
    y = scale * normal + bias
    if silu:
        sigmoid = 1 / (1 + np.exp(-y))
        cotangent = cotangent * sigmoid * (1 + y * (1 - sigmoid))
        y = y * sigmoid
    inner = cotangent * scale
    dx = (inner - mean(inner) - normal * mean(inner * normal)) / deviation
    return y, dx, (cotangent * normal).sum((0, 1, 2)), cotangent.sum((0, 1, 2))


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize(("channels", "groups"), [(32, 8), (28, 4), (16, 1), (3, 3)])
def test_norm_and_its_gradients_in_float64(channels, groups, silu):
    rng = np.random.default_rng(channels)
    x = rng.normal(size=(2, 9, 11, channels)) * rng.uniform(0.5, 2.0, channels) + 3.0
    given = x, rng.normal(size=channels), rng.normal(size=channels), rng.normal(size=x.shape)
    *operands, cotangent = (values.astype(np.float32) for values in given)
    norm = with_gradients(lambda *o: cpu_kernels.norm(*o, groups, 1e-6, silu))
    expected = exact(*operands, cotangent, groups, silu)
    for got, want, bound in zip(norm(cotangent, *operands), expected, (2e-6, 3e-6, 3e-6, 3e-6), strict=True):
        np.testing.assert_allclose(got, want, atol=bound * np.abs(want).max())


def test_norm_keeps_its_accuracy_far_from_zero():
    """At 1e4 float32 has a spacing of 1e-3, a hundredth of the deviation: the mean is no float32."""
    rng = np.random.default_rng(0)
    x = (1e4 + 0.1 * rng.normal(size=(1, 64, 64, 8))).astype(np.float32)
    cotangent = rng.normal(size=x.shape).astype(np.float32)
    ones, zeros = np.ones(8, np.float32), np.zeros(8, np.float32)
    found = with_gradients(lambda *operands: cpu_kernels.norm(*operands, 2, 1e-6, False))(cotangent, x, ones, zeros)
    for got, want in zip(found, exact(x, ones, zeros, cotangent, 2, False), strict=True):
        np.testing.assert_allclose(got, want, atol=2e-6 * np.abs(want).max())


def test_silu_over_its_whole_range():
    x = np.linspace(-120.0, 120.0, 4801, dtype=np.float32)
    # One channel of scale 1 and bias x: the input is constant, so the normalised value is 0 and the rest is SiLU.
    y = jax.jit(lambda b: cpu_kernels.norm(jnp.ones((1, 2, 2, x.size)), jnp.ones(x.size), b, x.size, 1e-6, True))(x)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(y[0, 0, 0], wide / (1.0 + np.exp(-wide)), rtol=1e-6, atol=1e-35)


@pytest.mark.parametrize("silu", [False, True])
def test_what_is_not_finite_or_large_comes_out_as_without_kernels(silu):
    """Infinities as pixels make their group no numbers; as a bias, and with large ones, they go through SiLU."""
    bias = np.array([-np.inf, -3e38, -1e38, -1e3, 88.0, 3e38, np.inf, np.nan], np.float32)
    x = np.random.default_rng(0).normal(size=(1, 3, 3, 8)).astype(np.float32)
    for value in (None, np.inf, -np.inf, np.nan):
        if value is not None:
            x[0, 1, 1, 2] = value  # of the second group
        operands = jnp.asarray(x), jnp.ones(8), jnp.asarray(bias)
        norm = with_gradients(lambda *o: cpu_kernels.norm(*o, 4, 1e-6, silu))
        plain = with_gradients(lambda *o: _one_pass(*o, groups=4, eps=1e-6, silu=silu))
        for got, want in zip(norm(jnp.ones_like(x), *operands), plain(jnp.ones_like(x), *operands), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)

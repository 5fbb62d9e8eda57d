"""The compiled normalisation against float64, and its values that are not finite against the form without kernels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_cpu_kernels import with_gradients

from ddim_jax.ops import cpu_kernels
from ddim_jax.ops.group_norm import _one_pass

pytestmark = pytest.mark.needs_kernels


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize(("channels", "groups"), [(32, 8), (28, 4), (16, 1), (3, 3)])
def test_norm_and_its_gradients_in_float64(channels, groups, silu):
    rng = np.random.default_rng(channels)
    x = rng.normal(size=(2, 9, 11, channels)) * rng.uniform(0.5, 2.0, channels) + 3.0
    operands = x, rng.normal(size=channels), rng.normal(size=channels)
    cotangent = rng.normal(size=x.shape)

    @functools.partial(jax.jit, static_argnums=0)
    def computed(norm, cotangent, *operands):
        y, pull_back = jax.vjp(norm, *operands)
        return y, pull_back(cotangent)

    with jax.enable_x64(True):
        in_float64 = functools.partial(_one_pass, groups=groups, eps=1e-6, silu=silu)
        expected, gradients = jax.tree.map(np.asarray, computed(in_float64, cotangent, *operands))
    y, own_gradients = computed(
        lambda *o: cpu_kernels.norm(*o, groups, 1e-6, silu), *(v.astype(np.float32) for v in (cotangent, *operands))
    )
    # _one_pass itself computes in float32 inside, whatever it is given.
    np.testing.assert_allclose(y, expected, atol=2e-6 * np.abs(expected).max())
    for got, want in zip(own_gradients, gradients, strict=True):
        np.testing.assert_allclose(got, want, atol=3e-6 * np.abs(want).max())


def test_norm_keeps_its_accuracy_far_from_zero():
    """At 1e4 float32 has a spacing of 1e-3, a hundredth of the deviation: the mean is no float32."""
    rng = np.random.default_rng(0)
    x = (1e4 + 0.1 * rng.normal(size=(1, 64, 64, 8))).astype(np.float32)
    cotangent = rng.normal(size=x.shape).astype(np.float32)
    norm = with_gradients(lambda *operands: cpu_kernels.norm(*operands, 2, 1e-6, False))
    grouped = x.astype(np.float64).reshape(1, 64, 64, 2, 4)
    deviation = np.sqrt(grouped.var((1, 2, 4), keepdims=True) + 1e-6)
    exact = (grouped - grouped.mean((1, 2, 4), keepdims=True)) / deviation
    gradient = cotangent.reshape(grouped.shape)
    of_group = [np.mean(values, (1, 2, 4), keepdims=True) for values in (gradient, gradient * exact)]
    expected = exact, (gradient - of_group[0] - exact * of_group[1]) / deviation, (gradient * exact).sum((0, 1, 2))
    y, dx, dscale, _ = norm(cotangent, x, jnp.ones(8), jnp.zeros(8))
    for got, want in zip((y, dx, dscale), expected, strict=True):
        np.testing.assert_allclose(got, want.reshape(got.shape), atol=2e-6 * np.abs(want).max())


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

"""Minimal filtering: its last digits, and numbers that are not finite or large."""

import jax
import numpy as np
import pytest
from test_cpu_kernels import xla

from ddim_jax.ops import cpu_kernels
from ddim_jax.ops.cpu_kernels.convolutions import Geometry, no_bias

pytestmark = pytest.mark.needs_kernels


@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0), (1e3, 1e-3, 1.0), (1.0, 1e-4, 1e4)])
def test_winograd_is_about_as_exact_as_the_direct_sum(scales):
    """In float64, on channels of very different size and images far from zero, as an activation may be."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(2, 18, 18, 64)) * np.resize(scales, 64) + 3.0).astype(np.float32)
    kernel, cotangent = (rng.normal(size=size).astype(np.float32) for size in [(3, 3, 64, 32), (2, 18, 18, 32)])
    same = (1, (1, 1), ((1, 1), (1, 1)))

    def value_and_gradients(function):
        y, pull_back = jax.vjp(function, x, kernel)
        return [np.asarray(v, np.float64) for v in (y, *pull_back(cotangent.astype(y.dtype)))]

    def errors(geometry):
        results = value_and_gradients(lambda x, kernel: cpu_kernels.conv(x, kernel, no_bias(2), geometry))
        return [np.linalg.norm(got - want) / np.linalg.norm(want) for got, want in zip(results, exact, strict=True)]

    def in_float64(x, kernel):
        return xla(x.astype(np.float64), kernel.astype(np.float64), None, Geometry(*same))

    with jax.enable_x64(True):
        exact = value_and_gradients(in_float64)
    direct = errors(Geometry(*same))
    for side, most in ((2, 1.5), (4, 4.0)):
        filtered = errors(Geometry(*same, winograd=side, winograd_kernel=side))
        for name, of_direct, own in zip(("value", "gradient of x", "of the kernel"), direct, filtered, strict=True):
            assert own < most * of_direct and of_direct < 1e-6, (name, side)


@pytest.mark.parametrize("side", [2, 4])
def test_winograd_keeps_what_is_not_finite_near_its_tile(side):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(1, 12, 12, 16)).astype(np.float32), rng.normal(size=(3, 3, 16, 16)).astype(np.float32)
    geometry = Geometry(1, (1, 1), ((1, 1), (1, 1)), winograd=side)
    convolve = jax.jit(lambda x: cpu_kernels.conv(x, kernel, no_bias(1), geometry))
    clean = convolve(x)
    for value in (np.inf, -np.inf, np.nan):
        x[0, 6, 6, 3] = value
        y = convolve(x)
        assert not np.isfinite(y[0, 5:8, 5:8]).any()
        # Pixels 4 to 7 are those of the tiles that see pixel 6, one of 4 x 4 or four of 2 x 2.
        outside = np.ones((12, 12), bool)
        outside[4:8, 4:8] = False
        np.testing.assert_array_equal(y[0][outside], clean[0][outside])
    # Large, and no sum beyond float32: nothing overflows on the way.
    large = np.full_like(x, 0.01 * np.finfo(np.float32).max)
    assert np.isfinite(cpu_kernels.conv(large, kernel / 1000, no_bias(1), geometry)).all()

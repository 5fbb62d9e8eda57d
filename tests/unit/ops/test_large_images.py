"""Results that the compiled kernels store past the caches have the bits of those that they do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddim_jax.ops import group_norm, grouped_conv, join_channels, upsample_conv

pytestmark = pytest.mark.needs_kernels

LARGE = {  # an image and a function of some; the results for two are larger than kStreamedFloats, those for one are not
    "normalisation": ((384, 512, 16), lambda x: group_norm(x, jnp.arange(16.0), jnp.ones(16), groups=4, silu=True)),
    "convolution of groups": ((256, 256, 48), lambda x: grouped_conv(x, normal(3, 3, 8, 48), normal(48), groups=6)),
    "of groups that are not whole vectors": (
        (256, 256, 48),
        lambda x: grouped_conv(x, normal(3, 3, 12, 48), normal(48), groups=4),
    ),
    "convolution in several blocks": ((224, 256, 16), lambda x: grouped_conv(x, normal(3, 3, 16, 64), normal(64))),
    "gradient of upsampling": (
        (448, 512, 16),
        lambda x: jax.vjp(
            lambda y: upsample_conv(y, normal(3, 3, 64, 16), jnp.zeros(16)), jnp.zeros((len(x), 224, 256, 64))
        )[1](x)[0],
    ),
}


def normal(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("name", LARGE)
def test_large_results_that_go_past_the_caches_have_the_bits_of_small_ones(name):
    shape, function = LARGE[name]
    x, function = normal(2, *shape), jax.jit(function)
    np.testing.assert_array_equal(function(x)[1:], function(x[1:]))


def test_a_large_join():
    x = normal(1, 384, 512, 16)
    np.testing.assert_array_equal(jax.jit(join_channels)(x, x + 1), np.concatenate([x, x + 1], -1))

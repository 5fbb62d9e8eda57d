"""The building blocks by hand and against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy_unet
import pytest

from ddim_jax.models.layers import (
    Attention,
    ChannelAttention,
    Conv,
    Norm,
    ResidualBlock,
    channel_shuffle,
    depth_to_space,
    light_groups,
    space_to_depth,
    timestep_embedding,
)
from ddim_jax.ops import upsample_nearest


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "limit", "groups"),
    [
        (128, 128, None, 16),  # 128/8
        (128, 256, None, 16),
        (512, 512, None, 32),  # 64, at most 32
        (384, 256, None, 32),  # 48, at most 32; common divisor 128
        (256, 128, None, 32),
        (24, 48, None, 3),
        (72, 48, None, 8),  # 9, lowered to a divisor of 24
        (48, 32, None, 4),  # 6, lowered to a divisor of 16
        (8, 8, None, 1),
        (4, 4, None, 1),  # never below one
        (128, 32, 32, 32),  # K and V wish for 32 whatever D
        (96, 24, 32, 24),
    ],
)
def test_groups_of_the_light_network_by_hand(in_channels, out_channels, limit, groups):
    assert light_groups(in_channels, out_channels, limit) == groups


def test_timestep_embedding_has_sines_first():
    t = np.array([0, 1, 37, 999])
    embedding = timestep_embedding(jnp.asarray(t), 8)
    # 4 frequencies exp(-ln(10000) k/3): 1, 10000^(-1/3), 10000^(-2/3), 1/10000
    frequencies = 10000.0 ** -(np.arange(4) / 3)
    assert embedding.dtype == jnp.float32
    np.testing.assert_allclose(embedding[:, :4], np.sin(t[:, None] * frequencies), atol=2e-4)
    np.testing.assert_allclose(embedding[:, 4:], np.cos(t[:, None] * frequencies), atol=2e-4)
    np.testing.assert_array_equal(embedding[0], [0, 0, 0, 0, 1, 1, 1, 1])
    np.testing.assert_allclose(embedding[1, [0, 3, 4]], [np.sin(1), 1e-4, np.cos(1)], rtol=1e-5)


def test_timestep_embedding_of_the_full_network_has_64_frequencies_over_63():
    embedding = timestep_embedding(jnp.array([1]), 128)
    frequencies = np.exp(-np.log(10000) * np.arange(64) / 63)
    np.testing.assert_allclose(embedding[0], np.concatenate([np.sin(frequencies), np.cos(frequencies)]), rtol=1e-5)


def test_space_to_depth_by_hand():
    x = jnp.arange(16).reshape(1, 4, 4, 1)
    folded = space_to_depth(x, 2)
    expected = [[[0, 1, 4, 5], [2, 3, 6, 7]], [[8, 9, 12, 13], [10, 11, 14, 15]]]
    np.testing.assert_array_equal(folded[0], expected)
    np.testing.assert_array_equal(depth_to_space(folded, 2), x)


@pytest.mark.parametrize("patch", [1, 2, 3])
def test_space_to_depth_and_back(patch):
    x = normal(2, 2 * patch, 3 * patch, 5)
    folded = space_to_depth(jnp.asarray(x), patch)
    np.testing.assert_array_equal(folded, numpy_unet.fold(x, patch))
    np.testing.assert_array_equal(depth_to_space(folded, patch), x)


def test_upsampling_repeats_every_pixel():
    x = jnp.array([[1, 2, 3], [4, 5, 6]]).reshape(1, 2, 3, 1)
    expected = [[1, 1, 2, 2, 3, 3], [1, 1, 2, 2, 3, 3], [4, 4, 5, 5, 6, 6], [4, 4, 5, 5, 6, 6]]
    np.testing.assert_array_equal(upsample_nearest(x)[0, :, :, 0], expected)
    y = normal(2, 2, 3, 4)
    np.testing.assert_array_equal(upsample_nearest(jnp.asarray(y)), y.repeat(2, axis=1).repeat(2, axis=2))


def test_downsampling_pads_below_and_to_the_right():
    x = jnp.arange(1.0, 17.0).reshape(1, 4, 4, 1)
    down = Conv(1, strides=2, padding=((0, 1), (0, 1)))
    y = down.apply({"params": {"kernel": jnp.ones((3, 3, 1, 1)), "bias": jnp.array([0.5])}}, x)
    # rows and columns 0..2 and 2..4, of which 4 is padding
    expected = [[1 + 2 + 3 + 5 + 6 + 7 + 9 + 10 + 11, 3 + 4 + 7 + 8 + 11 + 12], [9 + 10 + 11 + 13 + 14 + 15, 54]]
    np.testing.assert_array_equal(y[0, :, :, 0], np.array(expected) + 0.5)


def test_norm_lowers_its_groups_to_a_divisor():
    x, params = normal(2, 3, 3, 12), {"scale": normal(12), "bias": normal(12, seed=1)}
    y = Norm(groups=8).apply({"params": params}, x)  # gcd(8, 12) = 4
    np.testing.assert_allclose(y, numpy_unet.norm(params, x.astype(np.float64), 4), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("light", [True, False])
@pytest.mark.parametrize(("entering", "features"), [(16, 16), (16, 32), (48, 16)])
def test_residual_block_equals_numpy(draw_params, light, entering, features):
    block = ResidualBlock(features, light, norm_groups=4)
    x, time = normal(2, 4, 6, entering), normal(2, 10, seed=1)
    params = draw_params(block, x, time)
    assert ("shortcut" in params) == (entering != features)
    # light: entering/8 groups in the first convolution, features/8 in the second
    first, second = (entering // 8, features // 8) if light else (1, 1)
    if (entering, features) == (48, 16):
        first = 4 if light else 1  # 6, lowered to a divisor of 16
    assert params["conv1"]["kernel"].shape == (3, 3, entering // first, features)
    assert params["conv2"]["kernel"].shape == (3, 3, features // second, features)
    y = jax.jit(block.apply)({"params": params}, x, time)
    expected = numpy_unet.residual_block(params, x.astype(np.float64), time, 4)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_channel_shuffle_by_hand():
    x = jnp.arange(12.0).reshape(1, 2, 6)
    np.testing.assert_array_equal(channel_shuffle(x, 2)[0], [[0, 3, 1, 4, 2, 5], [6, 9, 7, 10, 8, 11]])
    np.testing.assert_array_equal(channel_shuffle(x, 3)[0, 0], [0, 2, 4, 1, 3, 5])
    np.testing.assert_array_equal(channel_shuffle(x, 1), x)


def test_a_shuffled_block_equals_numpy(draw_params):
    block = ResidualBlock(32, light=True, norm_groups=4, shuffle=True)
    x, time = normal(2, 4, 6, 48), normal(2, 10, seed=1)
    params = draw_params(block, x, time)
    y = jax.jit(block.apply)({"params": params}, x, time)
    expected = numpy_unet.residual_block(params, x.astype(np.float64), time, 4, shuffled=light_groups(48, 32))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shuffle", [False, True])
def test_groups_meet_in_a_block_if_its_channels_are_shuffled(draw_params, shuffle):
    """64 channels, 8 groups of 8: which channels of y depend on channel 0 of x (a norm of one channel a group)."""
    block = ResidualBlock(64, light=True, norm_groups=64, shuffle=shuffle)
    x, time = normal(1, 4, 4, 64), normal(1, 8, seed=1)
    params = draw_params(block, x, time)
    other = x.copy()
    other[..., 0] = normal(1, 4, 4, seed=2)
    call = jax.jit(block.apply)
    before, after = (np.asarray(call({"params": params}, given, time)) for given in (x, other))
    touched = np.abs(after - before).max(axis=(0, 1, 2)) > 1e-6
    assert touched.sum() == (64 if shuffle else 8)


@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("light", [True, False])
def test_attention_equals_numpy(draw_params, light, dual):
    attention = Attention(light, norm_groups=4, dual=dual)
    x = normal(2, 3, 5, 64)
    params = draw_params(attention, x)
    assert ("channel" in params) == dual
    y = jax.jit(attention.apply)({"params": params}, x)
    expected = numpy_unet.attention(params, x.astype(np.float64), 4)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("light", "channels", "shapes"),
    [
        # light: to C/4 channels; Q in min(32, C/8) groups, K and V in 32 groups
        (True, 128, {"q": (1, 1, 8, 32), "k": (1, 1, 4, 32), "v": (1, 1, 4, 32), "proj_out": (1, 1, 32, 128)}),
        (True, 512, {"q": (1, 1, 16, 128), "k": (1, 1, 16, 128), "v": (1, 1, 16, 128), "proj_out": (1, 1, 128, 512)}),
        (False, 64, {name: (1, 1, 64, 64) for name in ("q", "k", "v", "proj_out")}),
    ],
)
def test_shapes_of_attention(draw_params, light, channels, shapes):
    params = draw_params(Attention(light), np.zeros((1, 2, 2, channels), np.float32))
    assert {name: params[name]["kernel"].shape for name in shapes} == shapes
    assert set(params) == {"norm", *shapes}


def test_dual_attention_starts_as_that_of_the_pixels():
    x = normal(1, 3, 5, 64)
    alone, both = (Attention(True, norm_groups=4, dual=dual) for dual in (False, True))
    plain, dual = jax.jit(lambda key: [module.init(key, x)["params"] for module in (alone, both)])(jax.random.key(3))
    channel = dual.pop("channel")
    jax.tree.map(np.testing.assert_array_equal, plain, dual)

    @jax.jit
    def computed(plain, channel):
        def with_factor(scale):
            return both.apply({"params": plain | {"channel": channel | {"scale": scale}}}, x)

        gradient = jax.grad(lambda scale: jnp.sum(with_factor(scale) ** 2))(0.0)
        return alone.apply({"params": plain}, x), with_factor(channel["scale"]), gradient

    *applied, gradient = computed(plain, channel)
    np.testing.assert_array_equal(*applied)
    assert abs(gradient) > 1e-3  # and learns to differ: the factor that is 0 has a gradient


def test_channels_attend_to_channels_whatever_the_number_of_pixels(draw_params):
    module = ChannelAttention(light=True)
    x = normal(1, 4, 4, 32)
    params = {"params": draw_params(module, x)}
    call = jax.jit(module.apply)
    wide = call(params, np.tile(x, (1, 2, 3, 1)))
    np.testing.assert_allclose(wide, np.tile(call(params, x), (1, 2, 3, 1)), rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_alone(draw_params):
    block = ResidualBlock(16, light=False, norm_groups=4, dropout=0.5)
    x, time = normal(1, 4, 4, 16), normal(1, 8, seed=1)
    params = {"params": draw_params(block, x, time)}
    call = jax.jit(block.apply, static_argnames="train")
    still = call(params, x, time)
    without = jax.jit(ResidualBlock(16, light=False, norm_groups=4).apply)
    np.testing.assert_array_equal(still, without(params, x, time))
    first, second = (call(params, x, time, train=True, rngs={"dropout": jax.random.key(seed)}) for seed in (0, 1))
    assert np.abs(first - still).max() > 0.01 and np.abs(first - second).max() > 0.01

"""MedSegDiff, tiny, against float64 NumPy, and its filter against spectra worked out by definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_inputs import inputs
from numpy_unet import attention, conv, dense, embedding, fold, norm, residual_block, silu, unfold

from ddim_jax.models import MedSegDiff
from ddim_jax.models.medsegdiff import DynamicEncoding, FFParser

BINS = 3


def build(**fields):
    sizes = {"base_channels": 8, "channel_multipliers": (1, 2), "blocks_per_level": 1, "norm_groups": 4}
    return MedSegDiff(**{**sizes, "attention_levels": (), "fusion_levels": (0,), "frequency_bins": BINS, **fields})


def parse(weight, x):
    """Every frequency by itself, in cycles per pixel; the real part of the full transform stands for the half."""
    height, width = x.shape[1:3]
    bins = weight.shape[1] - 1
    points = weight[..., 0] + 1j * weight[..., 1]

    def at(row, column):
        """Bilinear between the four nearest points of the grid: rows from -1/2 to 1/2, columns from 0 to 1/2."""
        u, v = (row + 0.5) * 2 * bins, column * 2 * bins
        i, j = min(int(u), 2 * bins - 1), min(int(v), bins - 1)
        a, b = u - i, v - j
        left, right = ((1 - a) * points[i, k] + a * points[i + 1, k] for k in (j, j + 1))
        return (1 - b) * left + b * right

    result = np.zeros(x.shape)
    rows, columns = np.arange(height)[:, None], np.arange(width)
    for n in range(height):
        for m in range(width // 2 + 1):
            wave = np.exp(2j * np.pi * (n * rows / height + m * columns / width))
            coefficient = np.einsum("bhwc,hw->bc", x, wave.conj()) / (height * width)
            passed = coefficient * at(((n + height // 2) % height - height // 2) / height, m / width)
            # All but the first and the last column stand for their mirror image as well.
            twice = 1 if m == 0 or 2 * m == width else 2
            result += twice * np.real(passed[:, None, None, :] * wave[:, :, None])
    return result


def in_numpy(p, noisy_mask, image, t, *, groups, patch):
    """Two levels, one block at each."""
    time = dense(p["temb_dense_1"], silu(dense(p["temb_dense_0"], embedding(t, 8))))
    x, c = (conv(p[name], fold(a.astype(float), patch)) for name, a in (("mask_in", noisy_mask), ("image_in", image)))
    stack = [x + c]
    for level in (0, 1):
        x = residual_block(p[f"mask_{level}_block_0"], x, time, groups)
        c = residual_block(p[f"image_{level}_block_0"], c, time, groups)
        if f"fusion_{level}" in p:
            own = p[f"fusion_{level}"]
            seen = norm(own["norm_mask"], parse(own["ff_parser"]["weight"].astype(float), x), 1)
            c = norm(own["norm_image"], c, 1) * seen * c
        stack.append(x + c)
        if level == 0:
            x, c = (
                conv(p[f"{name}_0_downsample"], a, stride=2, padding=((0, 1), (0, 1)))
                for name, a in (("mask", x), ("image", c))
            )
            stack.append(x + c)
    x = residual_block(p["mid_block_1"], x + c, time, groups)
    x = residual_block(p["mid_block_2"], attention(p["mid_attn_1"], x, groups), time, groups)
    for level in (1, 0):
        for b in (0, 1):
            x = residual_block(p[f"up_{level}_block_{b}"], np.concatenate([x, stack.pop()], axis=-1), time, groups)
        if level:
            x = conv(p["up_1_upsample"], x.repeat(2, axis=1).repeat(2, axis=2))
    return unfold(conv(p["conv_out"], silu(norm(p["norm_out"], x, groups))), patch)


def test_the_whole_network_equals_numpy(draw_params):
    model = build()
    params = draw_params(model, *inputs())
    call = jax.jit(model.apply)
    for size in ((8, 12), (4, 8)):  # the same parameters
        output = call({"params": params}, *inputs(*size))
        assert output.dtype == jnp.float32 and output.shape == (2, *size, 1)
        expected = in_numpy(params, *inputs(*size), groups=4, patch=1)
        np.testing.assert_allclose(output, expected, atol=5e-4 * np.abs(expected).max())


@pytest.mark.parametrize("size", [(8, 12), (5, 6), (6, 7), (4, 4)])
def test_the_filter_equals_its_definition(draw_params, size):
    x = np.random.default_rng(1).normal(size=(2, *size, 3)).astype(np.float32)
    params = draw_params(FFParser(BINS), x)
    assert params["weight"].shape == (2 * BINS + 1, BINS + 1, 3, 2)
    result = FFParser(BINS).apply({"params": params}, x)
    np.testing.assert_allclose(result, parse(params["weight"].astype(float), x.astype(float)), atol=1e-5)


def test_the_filter_starts_as_the_identity_and_stops_what_its_map_says():
    x = np.random.default_rng(2).normal(size=(1, 8, 8, 2)).astype(np.float32)
    params = FFParser(4).init(jax.random.key(0), x)["params"]
    np.testing.assert_allclose(FFParser(4).apply({"params": params}, x), x, atol=1e-6)
    # Only frequency 0 of the first channel passes, halved: its mean. The grid of 4 has the frequencies of 8 pixels.
    weight = np.zeros((9, 5, 2, 2), np.float32)
    weight[4, 0, 0, 0] = 0.5
    result = FFParser(4).apply({"params": {"weight": weight}}, x)
    np.testing.assert_allclose(result[..., 0], np.full((1, 8, 8), x[..., 0].mean() / 2), atol=1e-6)
    np.testing.assert_allclose(result[..., 1], 0.0, atol=1e-6)


def test_bfloat16_features_are_filtered_in_float32():
    x = jnp.asarray(np.random.default_rng(3).normal(size=(1, 8, 8, 2)), jnp.bfloat16)
    params = FFParser(4).init(jax.random.key(0), x)["params"]
    result = FFParser(4).apply({"params": params}, x)
    assert result.dtype == jnp.bfloat16
    np.testing.assert_array_equal(result, x)  # the identity, rounded once


def test_fusion_sits_at_the_levels_that_are_named_and_lets_the_mask_change_the_image(draw_params):
    def fusions(**fields):
        shapes = jax.eval_shape(build(**fields).init, jax.random.key(0), *inputs())["params"]
        return {name for name in shapes if "fusion" in name}

    assert fusions(fusion_levels=()) == set()
    assert fusions(fusion_levels=(0, 1)) == {"fusion_0", "fusion_1"}
    image, mask, other = np.random.default_rng(4).normal(size=(3, 1, 4, 4, 2)).astype(np.float32)
    params = draw_params(DynamicEncoding(BINS), image, mask)
    first, second = (DynamicEncoding(BINS).apply({"params": params}, image, m) for m in (mask, other))
    assert np.abs(first - second).max() > 0.1


def test_a_size_that_cannot_be_halved_is_refused():
    model = build(stem_stride=2)
    assert model.size_multiple == 4
    with pytest.raises(ValueError, match="size 8 x 10: both have to be multiples of 4"):
        jax.eval_shape(model.init, jax.random.key(0), *inputs(8, 10))

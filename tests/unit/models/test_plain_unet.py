"""The plain U-Net, tiny, against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_unet import conv, fold, norm, silu, unfold

from ddim_jax.models import PlainUNet


def build(**fields):
    return PlainUNet(base_channels=8, channel_multipliers=(1, 2, 3), norm_groups=4, **fields)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (2, height, width, 3)).astype(np.float32)


def in_numpy(p, image, *, levels, patch, groups):
    """Up: a transposed convolution by its definition, every pixel spread over four."""

    def blocks(name, x):
        for k in range(2):
            x = silu(norm(p[f"{name}_norm_{k}"], conv(p[f"{name}_conv_{k}"], x), groups))
        return x

    x = fold(image.astype(np.float64), patch)
    stack = []
    for level in range(levels):
        if level:
            corners = [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
            x = np.maximum(np.maximum(corners[0], corners[1]), np.maximum(corners[2], corners[3]))
        x = blocks(f"down_{level}", x)
        stack.append(x)
    stack.pop()
    for level in range(levels - 2, -1, -1):
        kernel, bias = p[f"up_{level}_upsample"]["kernel"][0, 0], p[f"up_{level}_upsample"]["bias"]
        features = kernel.shape[1] // 4
        up = np.zeros((x.shape[0], 2 * x.shape[1], 2 * x.shape[2], features))
        for i in (0, 1):
            for j in (0, 1):
                part = slice((2 * i + j) * features, (2 * i + j + 1) * features)
                up[:, i::2, j::2] = x @ kernel[:, part] + bias[part]
        x = blocks(f"up_{level}", np.concatenate([up, stack.pop()], axis=-1))
    return unfold(conv(p["conv_out"], x), patch)


@pytest.mark.parametrize(("patch", "sizes"), [(1, [(8, 12), (4, 8)]), (2, [(16, 24)])])
def test_equals_numpy(draw_params, patch, sizes):
    model = build(stem_stride=patch)
    assert model.size_multiple == 4 * patch
    params = draw_params(model, picture(*sizes[0]))
    for size in sizes:  # the same parameters
        output = jax.jit(model.apply)({"params": params}, picture(*size))
        assert output.dtype == jnp.float32 and output.shape == (2, *size, 1)
        expected = in_numpy(params, picture(*size), levels=3, patch=patch, groups=4)
        np.testing.assert_allclose(output, expected, atol=2e-4 * np.abs(expected).max())


def test_training_is_inference_but_for_dropout_and_batches_do_not_matter(draw_params):
    image = picture(8, 8)
    params = draw_params(build(), image)
    call = jax.jit(lambda image: build().apply({"params": params}, image))
    answer = call(image)
    np.testing.assert_allclose(call(image[1:]), answer[1:], rtol=1e-5, atol=1e-4)

    @jax.jit
    def training(image):
        keys = {"dropout": jax.random.key(0)}
        return [build(dropout=d).apply({"params": params}, image, train=True, rngs=keys) for d in (0.0, 0.5)]

    same, dropped = training(image)
    np.testing.assert_allclose(same, answer, rtol=1e-5, atol=1e-4)
    assert np.abs(dropped - answer).max() > 0.1 * np.abs(answer).max()


@pytest.mark.parametrize("size", [(8, 10), (6, 8)])
def test_a_size_that_cannot_be_halved_is_refused(size):
    with pytest.raises(ValueError, match=f"size {size[0]} x {size[1]}: both have to be multiples of 4"):
        jax.eval_shape(build().init, jax.random.key(0), picture(*size))

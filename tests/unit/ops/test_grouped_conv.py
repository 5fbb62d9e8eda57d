"""Every lowering of the grouped convolution against XLA's own, in float64 on whole numbers: equal to the last bit."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ddim_jax.ops import by_platform, cpu_kernels, grouped_conv, upsample_conv
from ddim_jax.ops.grouped_conv import _block_diagonal, _cpu_merge, _gpu_lowering, _matrix_product, _supergroup_conv


def whole_numbers(rng, *shape):
    """Sums of products of small whole numbers are exact in float64, whatever the order of the summation."""
    return rng.integers(-4, 5, shape).astype(np.float64)


def native(groups, strides, padding):
    return lambda x, kernel: lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )


def check_against_native(candidates, rng, x_shape, kernel_shape, groups, strides, padding):
    """Values and both gradients of every candidate, in one compiled program."""
    with jax.enable_x64(True):
        x, kernel = whole_numbers(rng, *x_shape), whole_numbers(rng, *kernel_shape)
        reference = native(groups, strides, padding)
        cotangent = whole_numbers(rng, *jax.eval_shape(reference, x, kernel).shape)

        @jax.jit
        def program(x, kernel, cotangent):
            def value_and_gradients(function):
                y, pull_back = jax.vjp(function, x, kernel)
                return y, *pull_back(cotangent)

            return value_and_gradients(reference), {n: value_and_gradients(f) for n, f in candidates.items()}

        expected, results = program(x, kernel, cotangent)
        for name, result in results.items():
            for what, got, want in zip(
                ("output", "gradient of x", "gradient of kernel"), result, expected, strict=True
            ):
                assert got.dtype == jnp.float64
                np.testing.assert_array_equal(got, want, err_msg=f"{what} of {name}")


# No even kernel with a stride: XLA on CPU (jaxlib 0.10.2) aborts the process while it compiles the gradient of an
# ordinary convolution for some of them with uneven padding. The padding of the first is that of the networks.
@pytest.mark.parametrize(
    ("x_shape", "kernel_shape", "groups", "strides", "padding"),
    [
        ((1, 6, 3, 1), (3, 3, 1, 2), 1, (1, 2), ((0, 1), (0, 1))),
        ((1, 5, 6, 8), (3, 3, 2, 4), 4, (2, 2), "SAME"),
        ((2, 6, 2, 6), (1, 2, 3, 4), 2, (1, 1), "VALID"),
        ((2, 3, 3, 18), (2, 2, 3, 12), 6, (1, 1), ((2, 2), (0, 1))),
        ((2, 5, 3, 9), (1, 1, 3, 9), 3, (1, 2), "SAME"),
    ],
)
def test_equals_the_native_grouped_convolution(x_shape, kernel_shape, groups, strides, padding):
    candidates = {
        "grouped_conv": lambda x, k: grouped_conv(x, k, groups=groups, strides=strides, padding=padding),
        "GPU lowering": _gpu_lowering(x_shape, kernel_shape, groups, strides, padding),
    }
    for merge in (m for m in range(1, groups + 1) if groups % m == 0):
        candidates[f"supergroups of {merge}"] = lambda x, k, merge=merge: _supergroup_conv(
            x, k, groups, merge, strides, padding
        )
    if groups == 1:
        candidates["one matrix product"] = functools.partial(_matrix_product, strides=strides, pads=padding)
    check_against_native(candidates, np.random.default_rng(0), x_shape, kernel_shape, groups, strides, padding)


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_pointwise_convolution_is_a_matrix_product_for_each_group(groups, padding):
    check_against_native(
        {"grouped_conv": lambda x, k: grouped_conv(x, k, groups=groups, padding=padding)},
        np.random.default_rng(0),
        (2, 3, 4, 12),
        (1, 1, 12 // groups, 18),
        groups,
        (1, 1),
        padding,
    )


# (pixels of a side, groups, channels of a group in and out, convolutions, groups inside each of them)
GPU_CASES = {
    "as wide inside as outside: native": (17, 3, 2, 2, 1, 3),
    "small image: native": (16, 3, 2, 1, 1, 3),
    "one dense block": (17, 3, 2, 1, 1, 1),
    "blocks of at most 256 channels": (17, 4, 80, 1, 2, 1),
    "a group wider than a block": (17, 2, 260, 1, 2, 1),
}


@pytest.mark.parametrize("case", GPU_CASES.values(), ids=GPU_CASES.keys())
def test_every_form_of_the_gpu_lowering(case):
    side, groups, group_in, group_out, convolutions, inner_groups = case
    x_shape, kernel_shape = (1, side, side, groups * group_in), (3, 3, group_in, groups * group_out)
    lowering = _gpu_lowering(x_shape, kernel_shape, groups, (1, 1), "SAME")
    text = str(jax.make_jaxpr(lowering)(jnp.zeros(x_shape), jnp.zeros(kernel_shape)))
    assert re.findall(r"feature_group_count=(\d+)", text) == [str(inner_groups)] * convolutions
    check_against_native({"GPU": lowering}, np.random.default_rng(1), x_shape, kernel_shape, groups, (1, 1), "SAME")


def test_the_platform_decides_when_the_program_is_lowered(monkeypatch):
    monkeypatch.setattr(cpu_kernels, "available", lambda: False)
    monkeypatch.setattr(by_platform, "has_cpu_alone", lambda: False)  # as on a machine with a GPU
    # 16 groups of 8 channels in and out: 4 ordinary convolutions of 32 channels on a CPU, one grouped one on a GPU.
    x, kernel = jnp.zeros((1, 4, 5, 128)), jnp.zeros((3, 3, 8, 128))  # of a size that was not traced before
    traced = jax.jit(lambda x, kernel: grouped_conv(x, kernel, groups=16)).trace(x, kernel)

    def convolution_groups(platform):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        return re.findall(r"feature_group_count = (\d+)", text)

    assert convolution_groups("cpu") == ["1"] * 4
    assert convolution_groups("cuda") == ["16"]


def test_few_pixels_under_many_weights_are_one_matrix_product_on_a_cpu(monkeypatch):
    monkeypatch.setattr(by_platform, "has_cpu_alone", lambda: True)

    def operations(pixels, channels):
        x, kernel = jnp.zeros((1, 1, pixels, channels)), jnp.zeros((3, 3, channels, channels))
        text = jax.jit(grouped_conv).lower(x, kernel).as_text()
        return re.findall(r"dot_general|convolution|ddim_jax_\w+", text)

    assert operations(17, 128) == ["dot_general"]  # 147456 weights, 8674 to a pixel
    assert "dot_general" not in operations(18, 128) and "dot_general" not in operations(4, 112)


@pytest.mark.parametrize(
    ("groups", "group_width", "merge"),
    [
        (16, 8, 4),  # 4 supergroups of 32 channels
        (32, 8, 4),  # 8 of 32
        (32, 4, 8),  # 4 of 32
        (32, 64, 4),  # wide enough alone, but 32 convolutions are too many: 8 of 256
        (2, 64, 1),
        (3, 2, 3),  # never reaches 32 channels: one dense convolution
    ],
)
def test_supergroups_on_cpu_by_hand(groups, group_width, merge):
    assert _cpu_merge(groups, group_width) == merge


def test_block_diagonal_kernel_by_hand():
    kernel = jnp.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]).reshape(1, 1, 2, 4)  # group 0 -> outputs 0 and 1
    dense = _block_diagonal(kernel, groups=2, merge=2)
    np.testing.assert_array_equal(
        dense, np.reshape([[1, 2, 0, 0], [5, 6, 0, 0], [0, 0, 3, 4], [0, 0, 7, 8]], (1, 1, 1, 4, 4))
    )
    separate = _block_diagonal(kernel, groups=2, merge=1)
    np.testing.assert_array_equal(separate, np.reshape([[[1, 2], [5, 6]], [[3, 4], [7, 8]]], (2, 1, 1, 2, 2)))


def test_grouped_convolution_by_hand():
    x = np.stack([np.arange(9.0).reshape(3, 3), np.arange(9.0, 18.0).reshape(3, 3)], axis=-1)[None]
    kernel = np.zeros((3, 3, 1, 2))
    kernel[..., 0, 0] = 1.0  # output 0: the sum over the neighbourhood in channel 0
    kernel[0, 1, 0, 1] = 10.0  # output 1: ten times the pixel above in channel 1
    y = grouped_conv(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32), groups=2)
    np.testing.assert_array_equal(y[0, :, :, 0], [[8, 15, 12], [21, 36, 27], [20, 33, 24]])
    np.testing.assert_array_equal(y[0, :, :, 1], [[0, 0, 0], [90, 100, 110], [120, 130, 140]])


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_bias_is_added_for_each_channel_or_each_picture(side, groups):
    rng = np.random.default_rng(0)
    x, kernel = whole_numbers(rng, 2, 4, 5, 4), whole_numbers(rng, side, side, 4 // groups, 6)
    for bias in (whole_numbers(rng, 6), whole_numbers(rng, 2, 6)):
        y = grouped_conv(*(jnp.asarray(v, jnp.float32) for v in (x, kernel, bias)), groups=groups)
        plain = native(groups, (1, 1), "SAME")(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32))
        np.testing.assert_array_equal(y, plain + bias.reshape(-1, 1, 1, 6))


def test_a_bias_of_another_size_is_refused():
    x, kernel = jnp.zeros((2, 4, 4, 4)), jnp.zeros((3, 3, 4, 6))
    with pytest.raises(ValueError, match=r"bias is \(3, 6\); expected \(6,\) or \(2, 6\)"):
        grouped_conv(x, kernel, jnp.zeros((3, 6)))


@pytest.mark.parametrize("compiled", [False, True])
def test_upsampling_convolution_by_numpy(compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(cpu_kernels, "available", lambda: False)
    rng = np.random.default_rng(0)
    x, kernel, bias = whole_numbers(rng, 1, 16, 17, 2), whole_numbers(rng, 3, 3, 2, 3), whole_numbers(rng, 3)
    large = np.pad(x.repeat(2, axis=1).repeat(2, axis=2), ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = bias + sum(large[:, r : r + 32, c : c + 34] @ kernel[r, c] for r in range(3) for c in range(3))
    y = upsample_conv(*(jnp.asarray(v, jnp.float32) for v in (x, kernel, bias)))
    np.testing.assert_array_equal(y, expected)


def test_upsampling_convolution_refuses_other_kernels():
    with pytest.raises(ValueError, match=r"kernel is \(5, 5, 2, 3\); expected \(3, 3, 2, out_channels\)"):
        upsample_conv(jnp.zeros((1, 4, 4, 2)), jnp.zeros((5, 5, 2, 3)), jnp.zeros(3))


@pytest.mark.parametrize("side", [1, 3])
def test_bfloat16_stays_bfloat16(side):
    rng = np.random.default_rng(0)
    x, kernel = whole_numbers(rng, 1, 4, 4, 4), whole_numbers(rng, side, side, 2, 4)
    y = grouped_conv(jnp.asarray(x, jnp.bfloat16), jnp.asarray(kernel, jnp.bfloat16), groups=2)
    assert y.dtype == jnp.bfloat16
    exact = native(2, (1, 1), "SAME")(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32))
    np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=2**-8)


@pytest.mark.parametrize(
    ("channels", "kernel_shape", "groups"),
    [
        (6, (3, 3, 2, 6), 2),  # 2 groups of 2 are 4 channels, not 6
        (4, (1, 1, 4, 4), 2),  # the kernel of an ordinary convolution
        (4, (3, 3, 2, 5), 2),  # 5 outputs in 2 groups
        (4, (3, 3, 3, 4), 1),
    ],
)
def test_channels_that_do_not_fit_are_refused(channels, kernel_shape, groups):
    with pytest.raises(ValueError, match=f"x has {channels} channels .* does not fit {groups} groups"):
        grouped_conv(jnp.zeros((1, 4, 4, channels)), jnp.zeros(kernel_shape), groups=groups)

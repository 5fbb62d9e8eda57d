"""The public operations take and refuse the same operands with compiled kernels and without, with the same results."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy_conv import convolve

from ddim_jax.ops import cpu_kernels, group_norm, grouped_conv, join_channels, portable_operations, upsample_conv


@pytest.fixture(
    params=[pytest.param(True, marks=pytest.mark.needs_kernels), False], ids=["kernels", "plain"], autouse=True
)
def compiled(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(cpu_kernels, "available", lambda: False)
    return request.param


def whole_numbers(*shape, seed=0):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def zeros(*shape):
    return jnp.zeros(shape)


X, KERNEL, LARGE = zeros(1, 16, 16, 8), zeros(3, 3, 4, 8), zeros(3, 3, 8, 4)
REFUSED = {
    "no batch": (lambda: grouped_conv(X[0], KERNEL, groups=2), r"x is \(16, 16, 8\) and the kernel \(3, 3, 4, 8\)"),
    "volumes": (lambda: grouped_conv(X[None], KERNEL, groups=2), r"x is \(1, 1, 16, 16, 8\) and the kernel"),
    "kernel of a line": (lambda: grouped_conv(X, KERNEL[0], groups=2), r"the kernel \(3, 4, 8\); expected"),
    "two dtypes": (
        lambda: grouped_conv(X, KERNEL.astype(jnp.bfloat16), groups=2),
        "x is float32 and the kernel bfloat16; expected one dtype",
    ),
    "padding by another name": (
        lambda: grouped_conv(X, KERNEL, groups=2, padding="FULL"),
        "padding is 'FULL'; expected SAME, VALID or",
    ),
    "no group": (lambda: grouped_conv(X, KERNEL, groups=0), "does not fit 0 groups"),
    "stride of 0": (lambda: grouped_conv(X, KERNEL, groups=2, strides=(1, 0)), r"strides are \(1, 0\); expected two"),
    "one stride": (lambda: grouped_conv(X, KERNEL, groups=2, strides=(2,)), r"strides are \(2,\); expected two"),
    "negative padding": (
        lambda: grouped_conv(X, KERNEL, groups=2, strides=(2, 2), padding=((-1, 0), (0, 0))),
        r"padding is \(\(-1, 0\), \(0, 0\)\); expected .* of at least 0: crop x",
    ),
    "padding of one axis": (lambda: grouped_conv(X, KERNEL, groups=2, padding=((1, 1),)), r"padding is \(\(1, 1\),\)"),
    "normalised without batch": (lambda: group_norm(X[0], zeros(8), zeros(8), groups=2), r"x is \(16, 16, 8\)"),
    "normalised volumes": (lambda: group_norm(X[None], zeros(8), zeros(8), groups=2), r"x is \(1, 1, 16, 16, 8\)"),
    "scale of one": (
        lambda: group_norm(X, zeros(1), zeros(8), groups=2),
        r"scale is \(1,\) and bias \(8,\); expected \(8,\)",
    ),
    "bias of one": (lambda: group_norm(X, zeros(8), zeros(1), groups=2), r"scale is \(8,\) and bias \(1,\)"),
    "normalised in no group": (lambda: group_norm(X, zeros(8), zeros(8), groups=0), "0 groups do not divide"),
    "upsampled without batch": (lambda: upsample_conv(X[0], LARGE, zeros(4)), r"x is \(16, 16, 8\); expected"),
    "upsampled volumes": (lambda: upsample_conv(X[None], LARGE, zeros(4)), r"x is \(1, 1, 16, 16, 8\); expected"),
    "upsampled by a line": (lambda: upsample_conv(X, LARGE[0], zeros(4)), r"kernel is \(3, 8, 4\); expected"),
    "joined without batch": (
        lambda: join_channels(X[0], X[0]),
        r"x is float32 \(16, 16, 8\) and y float32 \(16, 16, 8\)",
    ),
    "joined with half of the lines": (lambda: join_channels(X, X[:, :8]), r"y float32 \(1, 8, 16, 8\); expected"),
    "joined with another type": (lambda: join_channels(X, X.astype(jnp.bfloat16)), r"x is float32 .* and y bfloat16"),
    "upsampled with a bias of one": (lambda: upsample_conv(X, LARGE, zeros(1)), r"bias is \(1,\); expected \(4,\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()


def value_and_gradients(function, cotangent, *operands):
    def run(cotangent, *operands):
        y, pull_back = jax.vjp(function, *operands)
        return y, *pull_back(cotangent)

    return jax.jit(run)(cotangent, *operands)


CONVOLUTIONS = {
    "a kernel one row higher": ((1, 2, 8, 8), (3, 3, 4, 8), {}),
    "a kernel two rows higher": ((1, 1, 8, 8), (3, 3, 4, 8), {}),
    "the same of one group": ((1, 1, 20, 16), (3, 3, 16, 16), {}),
    "few pixels under many weights": ((1, 2, 20, 128), (4, 3, 128, 128), {}),
    "no image": ((0, 9, 9, 8), (3, 3, 4, 8), {}),
    "no image, of one group": ((0, 9, 9, 16), (3, 3, 16, 16), {}),
    "no pixel, but padding": ((1, 0, 4, 8), (3, 3, 4, 8), {"padding": ((2, 2), (1, 1))}),
    "a pixel": ((1, 1, 1, 8), (5, 5, 4, 8), {"padding": ((2, 2), (2, 2))}),
    "pads wider than the kernel": ((1, 3, 3, 8), (2, 1, 4, 8), {"padding": ((3, 2), (1, 3)), "strides": (2, 3)}),
    "numbers of NumPy": (
        (1, 9, 8, 8),
        (3, 3, 4, 8),
        {"groups": np.int32(2), "strides": (np.int32(2),) * 2, "padding": np.array([[0, 1], [0, 1]])},
    ),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_of_odd_sizes_by_numpy(name):
    of_x, of_kernel, how = CONVOLUTIONS[name]
    x, kernel, bias = whole_numbers(*of_x), whole_numbers(*of_kernel, seed=1), whole_numbers(of_kernel[3], seed=2)
    how = {"groups": of_x[3] // of_kernel[2], "padding": ((0, 0), (0, 0)), "strides": (1, 1)} | how
    y, pull_back = convolve(x, kernel, groups=how["groups"], strides=how["strides"], pads=how["padding"])
    cotangent = whole_numbers(*y.shape, seed=3)
    found = value_and_gradients(lambda *operands: grouped_conv(*operands, **how), cotangent, x, kernel, bias)
    for got, want in zip(found, (y + bias, *pull_back(cotangent), cotangent.sum((0, 1, 2))), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("channels", [(16, 48), (13, 3), (0, 16), (16, 0)], ids=str)
@pytest.mark.parametrize("side", [4, 96], ids=str)
def test_joined_channels_and_their_gradients(side, channels):
    """Without a kernel, with one, and with whole vectors and parts of them."""
    x, y = (whole_numbers(2, side, side, count, seed=count) for count in channels)
    cotangent = whole_numbers(2, side, side, sum(channels), seed=3)
    joined, dx, dy = value_and_gradients(join_channels, cotangent, x, y)
    np.testing.assert_array_equal(joined, np.concatenate([x, y], -1))
    np.testing.assert_array_equal(np.concatenate([dx, dy], -1), cotangent)
    both = jax.vmap(jax.grad(lambda x, y: jnp.vdot(join_channels(x, y), cotangent[:1]), (0, 1)))(x[:, None], y[:, None])
    np.testing.assert_array_equal(np.concatenate(both, -1)[:, 0], np.repeat(cotangent[:1], 2, 0))
    by_image = jax.vmap(lambda x: join_channels(x[None], y[:1]))(x)
    np.testing.assert_array_equal(by_image[1, 0], np.concatenate([x[1], y[0]], -1))


@pytest.mark.parametrize("dtype", ["bfloat16", "int32", "float64"])
def test_a_bias_of_another_type(dtype):
    x, kernel, bias = whole_numbers(2, 6, 6, 8), whole_numbers(3, 3, 8, 4), whole_numbers(4)
    same = {"pads": ((1, 1), (1, 1))}
    other = np.asarray(bias, dtype)  # of NumPy: float64 is float32 to JAX
    np.testing.assert_array_equal(grouped_conv(x, kernel, other), convolve(x, kernel, **same)[0] + bias)
    large = x.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(upsample_conv(x, kernel, other), convolve(large, kernel, **same)[0] + bias)


def test_no_instance_and_no_picture():
    """Empty results of the right shape; the gradients of what is shared by all are zeros."""
    kernel, dense, scale = whole_numbers(3, 3, 4, 8), whole_numbers(3, 3, 8, 4), whole_numbers(8)

    def network(x, kernel, scale):
        y = group_norm(grouped_conv(x, kernel, groups=2), scale, scale, groups=2, silu=True)
        return upsample_conv(y, dense, scale[:4])

    for function, batch in ((jax.vmap(network, (0, None, None)), (0, 2)), (network, (0,))):
        y, dx, dk, ds = value_and_gradients(function, zeros(*batch, 32, 32, 4), zeros(*batch, 16, 16, 8), kernel, scale)
        assert (y.shape, dx.shape) == ((*batch, 32, 32, 4), (*batch, 16, 16, 8))
        assert not dk.any() and not ds.any()
    for size in ((0, 4), (4, 0)):
        y, dx, *of_channels = value_and_gradients(
            lambda *o: group_norm(*o, groups=2), zeros(1, *size, 8), zeros(1, *size, 8), scale, scale
        )
        assert y.shape == dx.shape == (1, *size, 8) and not np.any(of_channels)


def test_forward_mode_of_portable_operations():
    x, kernel, scale = whole_numbers(1, 16, 16, 8), whole_numbers(3, 3, 4, 8), whole_numbers(8)

    def network(x):
        return group_norm(grouped_conv(x, kernel, groups=2), scale, scale, groups=2)

    direction, cotangent = whole_numbers(*x.shape, seed=1), whole_numbers(*x.shape, seed=2)
    with portable_operations():
        _, tangent = jax.jvp(network, (x,), (direction,))
    (gradient,) = jax.vjp(network, x)[1](cotangent)
    np.testing.assert_allclose(np.vdot(cotangent, tangent), np.vdot(gradient, direction), rtol=1e-4)

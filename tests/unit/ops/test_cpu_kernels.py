"""The compiled CPU kernels against NumPy and XLA, in float32 on whole numbers: equal to the last bit, gradients too.

But for minimal filtering in tiles of 4 x 4, whose transforms are not exact.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import lax
from numpy_conv import convolve

from ddim_jax.ops import cpu_kernels, grouped_conv
from ddim_jax.ops.cpu_kernels.convolutions import Geometry, conv_transposed, no_bias
from ddim_jax.ops.upsample_conv import _compiled, _upsample_then_convolve

pytestmark = pytest.mark.needs_kernels


def whole_numbers(rng, *shape):
    """Sums of up to 2^20 products of these are exact in float32, whatever the order of the summation."""
    return rng.integers(-4, 5, shape).astype(np.float32)


def xla(x, kernel, bias, geometry):
    y = lax.conv_general_dilated(
        x,
        kernel,
        geometry.strides,
        geometry.pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=geometry.groups,
    )
    return y if bias is None else y + (bias if bias.ndim == 1 else bias[:, None, None])


def with_gradients(function):
    def run(cotangent, *operands):
        y, pull_back = jax.vjp(function, *operands)
        return y, *pull_back(cotangent)

    return jax.jit(run)


def check_equal(function, reference, operands, rng):
    """Values and all gradients, to the last bit, of a reference in float64.

    XLA on CPU (jaxlib 0.10.2) has wrong float32 gradients where the padding is wider than the kernel less one.
    """
    cotangent = whole_numbers(rng, *jax.eval_shape(reference, *operands).shape)
    results = with_gradients(function)(cotangent, *operands)
    with jax.enable_x64(True):
        expected = with_gradients(reference)(*(np.asarray(v, np.float64) for v in (cotangent, *operands)))
    check_results(results, expected)


def check_results(results, expected):
    for i, (got, want) in enumerate(zip(results, expected, strict=True)):
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, want, err_msg=f"gradient of operand {i - 1}" if i else "value")


FIELDS = {
    "batch": st.integers(0, 3),
    "size": st.tuples(st.integers(1, 9), st.integers(1, 9)),
    "kernel_size": st.tuples(st.integers(1, 5), st.integers(1, 5)),
    "groups": st.integers(1, 4),
    "group_in": st.sampled_from([1, 3, 4, 8, 12, 16]),
    "group_out": st.sampled_from([1, 2, 4, 6, 8, 12, 20, 40]),
    "strides": st.sampled_from([(1, 1), (1, 1), (2, 2), (3, 2)]),
    "pads": st.tuples(*[st.tuples(st.integers(0, 6), st.integers(0, 6))] * 2),
    "bias": st.sampled_from(["none", "channels", "pictures"]),
    "seed": st.integers(0, 2**16),
}
CASE = st.fixed_dictionaries(FIELDS)
FIXED = {"batch": 1, "strides": (1, 1), "pads": ((1, 1), (1, 1)), "kernel_size": (3, 3), "bias": "channels", "seed": 0}
POINTWISE = FIXED | {"size": (6, 15), "group_in": 20, "group_out": 4, "kernel_size": (1, 1), "bias": "pictures"}
POINTWISE |= {"batch": 2}


@settings(max_examples=25, deadline=None, derandomize=True)
@given(CASE)
@example(FIXED | {"size": (5, 70), "groups": 2, "group_in": 8, "group_out": 8})  # wider than a block of pixels
@example(FIXED | {"size": (33, 34), "groups": 4, "group_in": 8, "group_out": 4})  # enough pixels for several parts
@example(FIXED | {"size": (33, 34), "groups": 1, "group_in": 136, "group_out": 72})  # several planes and vectors
@example(FIXED | {"size": (33, 34), "groups": 1, "group_in": 128, "group_out": 64, "kernel_size": (1, 1)})
@example(FIXED | {"size": (9, 34), "groups": 3, "group_in": 48, "group_out": 1})  # vectors along the inputs
@example(FIXED | {"size": (9, 34), "groups": 3, "group_in": 1, "group_out": 48})  # the same for their gradient
@example(
    FIXED | {"size": (9, 34), "groups": 3, "group_in": 1, "group_out": 48, "strides": (3, 2), "kernel_size": (2, 2)}
)  # and pixels that no tap meets
@example(FIXED | {"size": (2, 3), "groups": 1, "group_in": 24, "group_out": 48, "batch": 18})  # several images at once
@example(
    FIXED | {"size": (9, 34), "groups": 2, "group_in": 12, "group_out": 16, "strides": (2, 2)}
)  # three taps at once
@example(FIXED | {"size": (9, 34), "groups": 5, "group_in": 12, "group_out": 4})  # vectors of inputs, some half full
@example(FIXED | {"size": (9, 34), "groups": 5, "group_in": 4, "group_out": 8})  # four groups at a time, and one more
@example(FIXED | {"size": (2, 8), "groups": 2, "group_in": 4, "group_out": 4, "pads": ((0, 0), (0, 0))})  # no result
@example(FIXED | {"size": (1, 1), "groups": 2, "group_in": 4, "group_out": 4, "pads": ((0, 0), (0, 0))})
@example(FIXED | {"size": (9, 9), "groups": 2, "group_in": 4, "group_out": 4, "batch": 0})
def test_convolution_equals_numpy(case):
    check_convolution(case, Geometry(case["groups"], case["strides"], case["pads"]))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(CASE)
@example(FIXED | {"size": (5, 70), "groups": 1, "group_in": 136, "group_out": 72})  # several ranges of channels
@example(FIXED | {"size": (33, 34), "groups": 2, "group_in": 20, "group_out": 36})  # several blocks of tiles, odd ends
@example(FIXED | {"size": (2, 3), "groups": 1, "group_in": 24, "group_out": 48, "batch": 18})  # images of two tiles
@example(FIXED | {"size": (4, 4), "groups": 1, "group_in": 520, "group_out": 8})  # inputs of many bytes
@example(FIXED | {"size": (5, 5), "groups": 2, "group_in": 14, "group_out": 16})  # vectors of eight, four and one
@example(FIXED | {"size": (9, 34), "groups": 2, "group_in": 16, "group_out": 12})  # products in place of wider inputs
@example(FIXED | {"size": (9, 34), "groups": 2, "group_in": 32, "group_out": 20})
@example(FIXED | {"size": (4, 4), "groups": 1, "group_in": 16, "group_out": 16, "batch": 0})
def test_winograd_equals_numpy(case):
    """The halves in the transform of the kernel are exact too."""
    case |= {"kernel_size": (3, 3), "strides": (1, 1)}
    check_convolution(case, Geometry(case["groups"], (1, 1), case["pads"], winograd=2, winograd_kernel=2))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(CASE)
@example(FIXED | {"size": (9, 34), "groups": 1, "group_in": 136, "group_out": 72})  # several ranges of channels
@example(FIXED | {"size": (33, 34), "groups": 2, "group_in": 20, "group_out": 36})  # several blocks of tiles, odd ends
@example(FIXED | {"size": (5, 70), "groups": 5, "group_in": 8, "group_out": 8})  # four groups at a time, and one more
@example(FIXED | {"size": (9, 9), "groups": 9, "group_in": 8, "group_out": 4, "batch": 2})  # twice four, and one
@example(FIXED | {"size": (8, 8), "groups": 3, "group_in": 4, "group_out": 16})  # all groups at once
@example(FIXED | {"size": (9, 34), "groups": 3, "group_in": 8, "group_out": 8})  # the same, products in place of inputs
@example(FIXED | {"size": (9, 34), "groups": 2, "group_in": 8, "group_out": 6})  # and in place of wider ones
@example(FIXED | {"size": (9, 34), "groups": 2, "group_in": 32, "group_out": 20})
@example(FIXED | {"size": (6, 7), "groups": 3, "group_in": 12, "group_out": 6})  # groups one by one
@example(FIXED | {"size": (4, 4), "groups": 1, "group_in": 520, "group_out": 8})  # inputs of many bytes
@example(FIXED | {"size": (4, 4), "groups": 1, "group_in": 16, "group_out": 16, "batch": 0})
def test_winograd_in_tiles_of_four_is_near_numpy(case):
    case |= {"kernel_size": (3, 3), "strides": (1, 1)}
    check_convolution(case, Geometry(case["groups"], (1, 1), case["pads"], winograd=4, winograd_kernel=4), exact=False)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.fixed_dictionaries(FIELDS | {"kernel_size": st.sampled_from([(1, 1), (1, 1), (1, 2), (3, 3), (5, 4)])}))
@example(FIXED | {"size": (2, 2), "group_in": 24, "group_out": 44, "batch": 4, "bias": "pictures"})
@example(FIXED | {"size": (1, 2), "group_in": 5, "group_out": 3, "batch": 17})  # tiles that are not full
@example(POINTWISE | {"pads": ((0, 0), (0, 0))})
@example(POINTWISE | {"pads": ((0, 1), (0, 0))})  # zeros on one side alone
@example(POINTWISE | {"pads": ((0, 0), (0, 2))})
@example(POINTWISE | {"pads": ((3, 0), (0, 0))})
@example(POINTWISE | {"pads": ((0, 0), (1, 0))})
@example(FIXED | {"size": (4, 4), "group_in": 16, "group_out": 16, "batch": 0})
def test_convolution_in_place_equals_numpy(case):
    """Kernels of 1 x 1 without padding, whose tiles reach from image to image, and others, place by place."""
    case |= {"groups": 1, "strides": (1, 1)}
    check_convolution(case, Geometry(1, (1, 1), case["pads"], in_place=True))


FORMS = {  # images, kernel, groups, strides
    "1 x 1 in place": ((16, 8, 8, 8), (1, 1, 8, 8), 1, (1, 1)),
    "1 x 1 in groups": ((2, 8, 8, 8), (1, 1, 4, 8), 2, (1, 1)),
    "few places": ((4, 2, 2, 8), (3, 3, 8, 8), 1, (1, 1)),
    "minimal filtering": ((2, 5, 6, 16), (3, 3, 16, 16), 1, (1, 1)),  # in tiles of 2 x 2
    "direct": ((2, 5, 6, 8), (3, 3, 4, 8), 2, (1, 1)),
    "strides": ((2, 7, 6, 8), (3, 2, 4, 8), 2, (2, 2)),
}


@pytest.mark.parametrize("pads", [((0, 1), (0, 2)), ((5, 0), (0, 4))], ids=str)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_every_form_pads_each_side_by_itself(form, pads):
    x_shape, kernel_shape, groups, strides = form
    rng = np.random.default_rng(0)
    x, kernel = whole_numbers(rng, *x_shape), whole_numbers(rng, *kernel_shape)
    y, pull_back = convolve(x, kernel, groups=groups, strides=strides, pads=pads)
    cotangent = whole_numbers(rng, *y.shape)
    own = with_gradients(lambda x, k: grouped_conv(x, k, groups=groups, strides=strides, padding=pads))
    check_results(own(cotangent, x, kernel), [y, *pull_back(cotangent)])


def check_convolution(case, geometry, exact=True):
    rng = np.random.default_rng(case["seed"])
    out_channels = geometry.groups * case["group_out"]
    x = whole_numbers(rng, case["batch"], *case["size"], geometry.groups * case["group_in"])
    kernel = whole_numbers(rng, *case["kernel_size"], case["group_in"], out_channels)
    shape = {"none": None, "channels": (out_channels,), "pictures": (case["batch"], out_channels)}[case["bias"]]
    operands = (x, kernel) if shape is None else (x, kernel, whole_numbers(rng, *shape))

    def with_kernels(x, kernel, bias=None):
        rows = no_bias(len(x)) if bias is None else jnp.broadcast_to(bias, (len(x), out_channels))
        return cpu_kernels.conv(x, kernel, rows, geometry)

    y, pull_back = convolve(x, kernel, groups=geometry.groups, strides=geometry.strides, pads=geometry.pads)
    cotangent = whole_numbers(rng, *y.shape)
    expected = [y, *pull_back(cotangent)]
    if shape is not None:
        expected[0] = y + (operands[2] if len(shape) == 1 else operands[2][:, None, None])
        expected.append(cotangent.sum((1, 2) if len(shape) == 2 else (0, 1, 2)))
    results = with_gradients(with_kernels)(cotangent, *operands)
    if exact:
        return check_results(results, expected)
    sizes, of_gradients = convolve(abs(x), abs(kernel), groups=geometry.groups, pads=geometry.pads)
    largest = [sizes.max(initial=0), *(size.max(initial=0) for size in of_gradients(abs(cotangent)))]
    for got, want, sum_of_sizes in zip(results[:3], expected[:3], largest, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=16 * 2.0**-24 * sum_of_sizes)
    check_results(results[3:], expected[3:])


@pytest.mark.parametrize("pads", [((1, 1), (0, 2)), ((0, 5), (4, 0))], ids=str)
@pytest.mark.parametrize(("strides", "winograd"), [((1, 1), 0), ((1, 1), 2), ((2, 2), 0), ((3, 2), 0)])
def test_transposed_convolution_is_the_transpose_of_the_convolution(strides, winograd, pads):
    rng = np.random.default_rng(0)
    geometry = Geometry(2, strides, pads, winograd, winograd)
    kernel, bias = whole_numbers(rng, 3, 3 if winograd else 4, 4, 12), whole_numbers(rng, 2, 8)
    like = np.zeros((2, 7, 9, 8), np.float32)
    y = whole_numbers(rng, *jax.eval_shape(lambda x: xla(x, kernel, None, geometry), like).shape)

    def transpose(y, kernel, bias):
        x = jnp.zeros(like.shape, y.dtype)
        return jax.vjp(lambda x: xla(x, kernel, None, geometry), x)[1](y)[0] + bias[:, None, None]

    check_equal(
        lambda y, kernel, bias: conv_transposed(y, kernel, bias, geometry, (7, 9)), transpose, (y, kernel, bias), rng
    )


# By merged taps, by minimal filtering, and with products in place of inputs.
@pytest.mark.parametrize("channels", [(8, 24), (20, 24), (32, 32), (16, 16)], ids=str)
def test_upsampling_merged_into_the_convolution(channels):
    rng = np.random.default_rng(0)
    inputs, outputs = channels
    operands = (
        whole_numbers(rng, 2, 5, 7, inputs),
        whole_numbers(rng, 3, 3, inputs, outputs),
        whole_numbers(rng, outputs),
    )
    check_equal(_compiled, _upsample_then_convolve, operands, rng)

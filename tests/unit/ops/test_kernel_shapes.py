"""The handlers of the compiled kernels refuse every array of a wrong shape: they would read or write beyond its end."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddim_jax.ops.cpu_kernels.library import TARGETS

pytestmark = pytest.mark.needs_kernels

PADS = {"top": 1, "bottom": 0, "left": 2, "right": 1}
UNIT = PADS | {"groups": 2}
STRIDES = UNIT | {"stride_rows": 2, "stride_columns": 1}
ONES = {"top": 1, "bottom": 1, "left": 1, "right": 1, "groups": 2}
X, KERNEL, BIAS = (4, 7, 8, 8), (3, 3, 4, 12), (4, 12)
DIRECT, FILTERED, DOUBLED = (4, 3, 9, 12), (4, 6, 9, 12), (4, 14, 16, 12)
OF_GROUPS = [(4, 2)] * 3
ARRAYS = [(3, 5), (7,)]

CASES = {  # a handler, the shapes of its operands and results, its attributes
    "direct": ("grouped_conv", [X, KERNEL, BIAS], [DIRECT], STRIDES),
    "direct, transposed": ("grouped_conv_transposed", [DIRECT, KERNEL, (4, 8)], [X], STRIDES),
    "direct, gradient of the kernel": ("grouped_conv_grad_kernel", [X, DIRECT], [KERNEL], STRIDES),
    "filtered": (
        "winograd_conv", [X, KERNEL, BIAS], [FILTERED], UNIT | {"tile": 4, "transposed": False, "doubled": False},
    ),
    "filtered, transposed": (
        "winograd_conv", [FILTERED, KERNEL, (4, 8)], [X], UNIT | {"tile": 4, "transposed": True, "doubled": False},
    ),
    "doubled": (
        "winograd_conv", [X, KERNEL, BIAS], [DOUBLED], ONES | {"tile": 2, "transposed": False, "doubled": True},
    ),
    "doubled, transposed": (
        "winograd_conv", [DOUBLED, KERNEL, (4, 8)], [X], ONES | {"tile": 2, "transposed": True, "doubled": True},
    ),
    "filtered, gradient of the kernel": (
        "winograd_conv_grad_kernel", [X, FILTERED], [KERNEL], UNIT | {"tile": 4, "doubled": False},
    ),
    "doubled, gradient of the kernel": (
        "winograd_conv_grad_kernel", [X, DOUBLED], [KERNEL], ONES | {"tile": 2, "doubled": True},
    ),
    "in place": ("in_place_conv", [X, (3, 3, 8, 12), BIAS], [FILTERED], PADS),
    "in place, 1 x 1": (
        "in_place_conv", [X, (1, 1, 8, 12), BIAS], [(4, 7, 8, 12)], dict.fromkeys(PADS, 0),
    ),
    "norm": ("group_norm", [X, (8,), (8,)], [X, *OF_GROUPS], {"groups": 2, "eps": 1e-6, "silu": False}),
    "gradient of the norm": (
        "group_norm_grad", [X, (8,), (8,), *OF_GROUPS, X], [X, (8,), (8,)], {"groups": 2, "silu": True},
    ),
    "join": ("join", [X, (4, 7, 8, 3)], [(4, 7, 8, 11)], {}),
    "adam": ("adam", [(5,), *ARRAYS * 5], ARRAYS * 4, {"beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}),
}  # fmt: skip


def call(arrays, name, operands, results, attributes):
    kinds = {int: np.int64, float: np.float32, bool: bool}
    attributes = {field: kinds[type(value)](value) for field, value in attributes.items()}
    made = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in results]
    given = [arrays[shape] for shape in operands]
    jax.ffi.ffi_call(f"ddim_jax_{name}", made, has_side_effect=True)(*given, **attributes)
    return jnp.float32(0)


def wrong_shapes(name, operands, results):
    """The operands and results with one of them of another rank, or with one axis smaller or larger."""
    arrays = [*operands, *results]
    for i, shape in enumerate(arrays):
        others = [(*shape, 1), shape[:-1]]
        for axis, size in enumerate(shape):
            others += [(*shape[:axis], other, *shape[axis + 1 :]) for other in (size - 2, size + 2) if other >= 0]
        for other in others:
            if name != "adam" or i > 0 or math.prod(other) < 5:  # of whose first operand five numbers are read
                changed = [*arrays[:i], other, *arrays[i + 1 :]]
                yield changed[: len(operands)], changed[len(operands) :]


def wrong_attributes(attributes):
    """Other groups, strides and zeros; also a negative number of zeros that those of the other side make up for."""
    for field, value in attributes.items():
        if type(value) is int:
            yield {field: value + 2}
            yield {field: 0 if field.startswith("stride") else -1}
    if "top" in attributes:
        for first, last in (("top", "bottom"), ("left", "right")):
            yield {first: -1, last: attributes[first] + attributes[last] + 1}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_does_not_fit_is_refused(case):
    name, operands, results, attributes = case
    tried = [(operands, results, attributes)]
    tried += [(*shapes, attributes) for shapes in wrong_shapes(name, operands, results)]
    tried += [(operands, results, attributes | changed) for changed in wrong_attributes(attributes)]
    # One program of all of them, of which a run makes one call.
    branches = [lambda arrays, one=one: call(arrays, name, *one) for one in tried]
    zeros = {shape: np.zeros(shape, np.float32) for shapes, *_ in tried for shape in shapes}
    program = jax.jit(lambda i, zeros: jax.lax.switch(i, branches, zeros))
    assert program(0, zeros) == 0
    for i in range(1, len(tried)):
        try:
            program(i, zeros).block_until_ready()
        except Exception as error:
            assert "INVALID_ARGUMENT: the shapes" in str(error), tried[i]
        else:
            pytest.fail(f"{name} took {tried[i]}; right is {tried[0]}")


def test_every_handler_of_floats_that_have_to_fit_each_other_is_tried():
    others = {"ddim_jax_norm", "ddim_jax_threefry"}
    assert {f"ddim_jax_{name}" for name, *_ in CASES.values()} == set(TARGETS) - others

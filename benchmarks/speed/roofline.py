"""The arithmetic of a case and the bytes it must move, which divided by the machine's ceilings give its least time.

The arithmetic is the network's, whatever tricks a side uses: multiplications and additions (two operations a pair) of
the convolutions and matrix products of the plain network, zeros of the padding included. Normalisation, activations,
additions and softmax count nothing.

The bytes are those that a program must move which keeps nothing but one layer at a time near the processor: every
convolution and matrix product reads its operands, weights included, and writes its result once; everything between
two of them happens on the way. Convolutions after an upsampling are charged with the upsampled image.

- forward: as said.
- segment: as many forward passes as steps.
- train_step: three times the arithmetic of forward (the gradients of inputs and of weights cost one each). Three times
  its operands and results, and for each float32 weight 12 numbers: the gradient written and read, Adam's two moments
  read and written, the weight read and written, its average read and written, and the weight read in either pass.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params

from benchmarks.speed.cases import Case
from benchmarks.speed.plain import plain_convolutions
from ddim_jax.models import create_model

_NUMBERS_PER_TRAINED_WEIGHT = 12


class Work(NamedTuple):
    """Operations and bytes moved of one run."""

    flops: float
    bytes: float


def case_work(case: Case) -> Work:
    """The work of one run of a case; by tracing alone, nothing is computed."""
    dtype = "bfloat16" if case.dtype == "bfloat16" else "float32"
    model = create_model(case.model, **case.overrides, dtype=dtype)
    pictures = [jax.ShapeDtypeStruct((case.batch, case.size, case.size, channels), jnp.float32) for channels in (1, 3)]
    inputs = (*pictures, jax.ShapeDtypeStruct((case.batch,), jnp.int32))
    params = jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]
    forward = count(lambda params, *inputs: model.apply({"params": params}, *inputs), params, *inputs)
    if case.kind in ("train_step", "train_loop"):
        weights = sum(leaf.size for leaf in jax.tree.leaves(params))
        return Work(3 * forward.flops, 3 * forward.bytes + 4 * _NUMBERS_PER_TRAINED_WEIGHT * weights)
    evaluations = case.steps or 1
    return Work(evaluations * forward.flops, evaluations * forward.bytes)


def count(function, *arguments: Any) -> Work:
    """The work of a function of arrays (or of their shapes) with plain convolutions, as defined above."""
    with plain_convolutions():
        traced = jax.make_jaxpr(function)(*arguments)
    return _jaxpr_work(traced.jaxpr)


def _jaxpr_work(jaxpr) -> Work:
    flops = moved = 0.0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in ("conv_general_dilated", "dot_general"):
            flops += 2.0 * _products(equation)
            moved += sum(x.aval.size * x.aval.dtype.itemsize for x in (*equation.invars, *equation.outvars))
        elif name in ("scan", "while", "cond"):
            # The network has none; counting a body once would be wrong.
            raise ValueError(f"the arithmetic of {name} is not counted")
        else:
            for inner in jaxprs_in_params(equation.params):
                work = _jaxpr_work(inner)
                flops, moved = flops + work.flops, moved + work.bytes
    return Work(flops, moved)


def _products(equation) -> int:
    """Multiplications: for each number of the result, as many as are summed up in it."""
    left, right = (x.aval for x in equation.invars)
    (result,) = (x.aval for x in equation.outvars)
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return result.size * math.prod(left.shape[axis] for axis in contracted)
    out_channels = right.shape[equation.params["dimension_numbers"].rhs_spec[0]]
    return result.size * (right.size // out_channels)

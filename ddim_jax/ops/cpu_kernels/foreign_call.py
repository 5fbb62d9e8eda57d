"""A call of a compiled CPU kernel through XLA's foreign function interface, and its vmap."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap


def call(target: str, shapes: Sequence[tuple[int, ...]], *operands: jax.Array, **attributes) -> list[jax.Array]:
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    # The kernels read whole numbers as int64, whatever JAX makes of a Python int.
    attributes = {k: np.int64(v) if type(v) is int else v for k, v in attributes.items()}
    return jax.ffi.ffi_call(target, results)(*operands, **attributes)


def with_vmap(function: Callable, weights: Sequence[int]) -> Callable:
    """Gives `function` a vmap: images of all instances become one batch, unless an operand in `weights` differs.

    All other operands, and all results, have to have the batch in front. `weights` = None: instances run one by one.
    No instance at all is a loop that never runs.
    """
    function = custom_vmap(function)

    @function.def_vmap
    def rule(size: int, batched: Sequence[bool], *operands: jax.Array):
        if weights is None or size == 0 or any(batched[i] for i in weights):
            spread = [x if b else jnp.broadcast_to(x, (size, *x.shape)) for x, b in zip(operands, batched, strict=True)]
            results = jax.lax.map(lambda one: function(*one), tuple(spread))
        else:
            merged = []
            for i, (x, b) in enumerate(zip(operands, batched, strict=True)):
                if i not in weights:
                    x = x if b else jnp.broadcast_to(x, (size, *x.shape))
                    x = x.reshape(size * x.shape[1], *x.shape[2:])
                merged.append(x)
            results = [y.reshape(size, y.shape[0] // size, *y.shape[1:]) for y in function(*merged)]
        return results, [True] * len(results)

    return function

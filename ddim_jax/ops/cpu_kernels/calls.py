"""The compiled CPU kernels as JAX functions, with their gradients and with vmap: all but the convolutions.

The kernels take float32 (Threefry: uint32) and support reverse-mode differentiation once. Callers check
`library.available()` first; before that there is "No FFI handler registered". Shapes that do not fit each other are an
error when the call runs, a RuntimeError that begins with INVALID_ARGUMENT.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ddim_jax.ops.cpu_kernels.foreign_call import call, with_vmap


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def norm(x: jax.Array, scale: jax.Array, bias: jax.Array, groups: int, eps: float, silu: bool) -> jax.Array:
    """Group normalisation, then SiLU if asked for: float32 [batch, H, W, channels] -> the same.

    Sums run in float32 over `kFlush` pixels (`group_norm.cc`), relative to one pixel of the group, then in float64.
    """
    return _norm_forward(x, scale, bias, groups, eps, silu)[0]


def _norm_forward(x, scale, bias, groups, eps, silu):
    def forward(x, scale, bias):
        shapes = [x.shape] + [(x.shape[0], groups)] * 3
        attributes = dict(groups=groups, eps=np.float32(eps), silu=silu)
        return call("ddim_jax_group_norm", shapes, x, scale, bias, **attributes)

    y, *of_groups = with_vmap(forward, weights=[1, 2])(x, scale, bias)
    return y, (x, scale, bias, *of_groups)


def _norm_backward(groups, eps, silu, residuals, gradient):
    def backward(*operands):
        shapes = [operand.shape for operand in operands[:3]]
        return call("ddim_jax_group_norm_grad", shapes, *operands, groups=groups, silu=silu)

    return tuple(with_vmap(backward, weights=None)(*residuals, gradient))


norm.defvjp(_norm_forward, _norm_backward)


@jax.custom_vjp
def join(x: jax.Array, y: jax.Array) -> jax.Array:
    """float32 [batch, H, W, channels] and [batch, H, W, other channels] -> [batch, H, W, channels + other channels]."""

    def forward(x, y):
        return call("ddim_jax_join", [(*x.shape[:3], x.shape[3] + y.shape[3])], x, y)

    return with_vmap(forward, weights=[])(x, y)[0]


def _join_forward(x, y):
    return join(x, y), jnp.zeros((x.shape[3], 0))  # no number, and how many channels are those of x


def _join_backward(nothing, gradient):
    return gradient[..., : len(nothing)], gradient[..., len(nothing) :]


join.defvjp(_join_forward, _join_backward)


def norm_of(arrays: Sequence[jax.Array]) -> jax.Array:
    """The square root of the sum of the squares of float32 arrays of any shapes, float32 []. No gradient, no vmap."""
    (norm,) = call("ddim_jax_norm", [()], *arrays)
    return norm


def adam(
    numbers: jax.Array, *kinds: Sequence[jax.Array], after: jax.Array, beta1: float, beta2: float, epsilon: float
) -> list[list[jax.Array]]:
    """One update of Adam (Kingma and Ba, 2015) and of a moving average of the weights. No gradient, no vmap.

    Args:
      numbers: float32 [5]: what the gradients are multiplied by, the learning rate, 1 / (1 - beta1^n) and
        1 / (1 - beta2^n) of the n-th update, and the share of the average that stays.
      kinds: float32 arrays of any shapes, the same number of each kind: gradients, weights, first and second moments,
        averages.
      after: float32 [], not read: the update waits for it.
      beta1, beta2, epsilon: of Adam.

    Returns:
      The weights, both moments and the averages, updated in their own memory where nobody needs it any more.

    Raises:
      ValueError: the kinds are not five of one number of arrays, or one is not float32.
    """
    count = len(kinds[0])
    if [len(kind) for kind in kinds] != [count] * 5:
        raise ValueError(f"kinds of {[len(kind) for kind in kinds]} arrays; expected five of one number")
    arrays = [array for kind in kinds for array in kind]
    others = {str(array.dtype) for array in arrays if array.dtype != jnp.float32}
    if others:
        raise ValueError(f"arrays of {', '.join(sorted(others))}; expected float32")
    results = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays[count:]]
    update = jax.ffi.ffi_call(
        "ddim_jax_adam", results, input_output_aliases={1 + count + i: i for i in range(len(results))}
    )
    attributes = {"beta1": np.float32(beta1), "beta2": np.float32(beta2), "epsilon": np.float32(epsilon)}
    updated = update(jnp.append(numbers, after), *arrays, **attributes)
    return [updated[i * count : (i + 1) * count] for i in range(4)]


def threefry(key: jax.Array, first: jax.Array, count: int) -> jax.Array:
    """Threefry-2x32 (Salmon et al., 2011) with 20 rounds at the counters (0, first + i), i = 0 .. count - 1.

    Args:
      key: uint32 [2].
      first: uint32 [].
      count: at most 2^32.

    Returns:
      uint32 [count, 2].

    Raises:
      ValueError: `count` is larger: the numbers would repeat.
    """
    if count > 2**32:
        raise ValueError(f"{count} draws of one key; expected at most 2^32, for they repeat from there")

    def draw(keys, firsts):
        result = jax.ShapeDtypeStruct((len(keys), count, 2), jnp.uint32)
        return [jax.ffi.ffi_call("ddim_jax_threefry", result)(keys, firsts)]

    return with_vmap(draw, weights=[])(key[None], first[None])[0][0]

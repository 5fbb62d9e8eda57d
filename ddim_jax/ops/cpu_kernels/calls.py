"""The compiled CPU kernels as JAX functions, with their gradients and with vmap.

The kernels take float32 (Threefry: uint32) and support reverse-mode differentiation once. Callers check
`library.available()` first; before that there is "No FFI handler registered". Shapes that do not fit each other are an
error when the call runs, a RuntimeError that begins with INVALID_ARGUMENT.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

Pads = tuple[tuple[int, int], tuple[int, int]]


def _call(target: str, shapes: Sequence[tuple[int, ...]], *operands: jax.Array, **attributes) -> list[jax.Array]:
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    # The kernels read whole numbers as int64, whatever JAX makes of a Python int.
    attributes = {k: np.int64(v) if type(v) is int else v for k, v in attributes.items()}
    return jax.ffi.ffi_call(target, results)(*operands, **attributes)


def _with_vmap(function: Callable, weights: Sequence[int]) -> Callable:
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


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The geometry of a convolution: groups, strides (rows, columns), zeros around ((top, bottom), (left, right)).

    winograd: the side of a tile, 2 or 4, of minimal filtering (Lavin and Gray, 2016), for kernels of 3 x 3 and strides
      of 1; 0: direct sums. It adds inputs before it multiplies them: they may not be larger than a hundredth of what
      float32 holds, and one that is not finite spreads to the outputs of the tiles that see it. With 4 the transforms
      multiply by thirds and by square roots, so that whole numbers are not exact.
    winograd_kernel: the same for the gradient of the kernel.
    in_place: of one group with strides of 1, the value without a copy of pixels or kernel; of 1 x 1 without zeros
      around, the gradient of the input too.
    """

    groups: int
    strides: tuple[int, int]
    pads: Pads
    winograd: int = 0
    winograd_kernel: int = 0
    in_place: bool = False

    def attributes(self) -> dict[str, int]:
        """The attributes of the direct kernels."""
        return dict(**self.zeros(), groups=self.groups, stride_rows=self.strides[0], stride_columns=self.strides[1])

    def for_winograd(self) -> dict[str, int]:
        """The attributes of minimal filtering, for the value and the gradient of the input."""
        return dict(**self.zeros(), groups=self.groups, tile=self.winograd)

    def zeros(self) -> dict[str, int]:
        """The attributes of the kernels in place."""
        (top, bottom), (left, right) = self.pads
        return dict(top=top, bottom=bottom, left=left, right=right)

    def out_size(self, size: Sequence[int], kernel_size: Sequence[int]) -> tuple[int, ...]:
        sides = zip(size, kernel_size, self.strides, self.pads, strict=True)
        return tuple(max(0, (side + sum(pad) - kernel) // stride + 1) for side, kernel, stride, pad in sides)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def conv(x: jax.Array, kernel: jax.Array, bias: jax.Array, geometry: Geometry) -> jax.Array:
    """Grouped convolution.

    Args:
      x: float32 [batch, H, W, in_channels].
      kernel: float32 [kh, kw, in_channels / groups, out_channels].
      bias: float32 [batch, out_channels], one row for each image; [batch, 0] adds nothing.
      geometry: of the convolution.

    Returns:
      float32 [batch, H', W', out_channels].
    """

    def forward(x, kernel, bias):
        size = geometry.out_size(x.shape[1:3], kernel.shape[:2])
        shape = (x.shape[0], *size, kernel.shape[-1])
        if geometry.in_place:
            return _call("ddim_jax_in_place_conv", [shape], x, kernel, bias, **geometry.zeros())
        if geometry.winograd:
            attributes = dict(**geometry.for_winograd(), transposed=False, doubled=False)
            return _call("ddim_jax_winograd_conv", [shape], x, kernel, bias, **attributes)
        return _call("ddim_jax_grouped_conv", [shape], x, kernel, bias, **geometry.attributes())

    return _with_vmap(forward, weights=[1])(x, kernel, bias)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def conv_transposed(
    y: jax.Array, kernel: jax.Array, bias: jax.Array, geometry: Geometry, size: tuple[int, int]
) -> jax.Array:
    """The transpose of `conv` without its bias (its gradient with respect to x), plus another bias.

    Args:
      y: float32 [batch, H', W', out_channels], what `conv` would return for images of `size`.
      kernel: as for `conv`.
      bias: float32 [batch, in_channels], or [batch, 0] to add nothing.
      geometry: of the convolution that is transposed.
      size: (H, W).

    Returns:
      float32 [batch, H, W, in_channels].
    """

    def forward(y, kernel, bias):
        shape = (y.shape[0], *size, geometry.groups * kernel.shape[2])
        if geometry.in_place and kernel.shape[:2] == (1, 1) and geometry.pads == ((0, 0), (0, 0)):
            return _call("ddim_jax_in_place_conv", [shape], y, jnp.swapaxes(kernel, 2, 3), bias, **geometry.zeros())
        if geometry.winograd:
            attributes = dict(**geometry.for_winograd(), transposed=True, doubled=False)
            return _call("ddim_jax_winograd_conv", [shape], y, kernel, bias, **attributes)
        return _call("ddim_jax_grouped_conv_transposed", [shape], y, kernel, bias, **geometry.attributes())

    return _with_vmap(forward, weights=[1])(y, kernel, bias)[0]


def conv_grad_kernel(
    x: jax.Array,
    gradient: jax.Array,
    geometry: Geometry,
    kernel_shape: tuple[int, int, int, int],
    doubled: bool = False,
) -> jax.Array:
    """The gradient of `conv` with respect to its kernel, float32 `kernel_shape`, for the gradient of its result.

    doubled: that of `doubled_conv`.
    """

    def backward(x, gradient):
        if geometry.winograd_kernel:
            attributes = geometry.for_winograd() | {"tile": geometry.winograd_kernel, "doubled": doubled}
            return _call("ddim_jax_winograd_conv_grad_kernel", [kernel_shape], x, gradient, **attributes)
        return _call("ddim_jax_grouped_conv_grad_kernel", [kernel_shape], x, gradient, **geometry.attributes())

    return _with_vmap(backward, weights=None)(x, gradient)[0]


def no_bias(batch: int) -> jax.Array:
    return jnp.zeros((batch, 0), jnp.float32)


def _grad_bias(gradient: jax.Array, bias: jax.Array) -> jax.Array:
    return jnp.sum(gradient, (1, 2)) if bias.size else bias


def _conv_forward(x, kernel, bias, geometry):
    return conv(x, kernel, bias, geometry), (x, kernel, bias)


def _conv_backward(geometry, residuals, gradient):
    x, kernel, bias = residuals
    dx = conv_transposed(gradient, kernel, no_bias(x.shape[0]), geometry, x.shape[1:3])
    return dx, conv_grad_kernel(x, gradient, geometry, kernel.shape), _grad_bias(gradient, bias)


conv.defvjp(_conv_forward, _conv_backward)


def _transposed_forward(y, kernel, bias, geometry, size):
    return conv_transposed(y, kernel, bias, geometry, size), (y, kernel, bias)


def _transposed_backward(geometry, size, residuals, gradient):
    y, kernel, bias = residuals
    dy = conv(gradient, kernel, no_bias(y.shape[0]), geometry)
    return dy, conv_grad_kernel(gradient, y, geometry, kernel.shape), _grad_bias(gradient, bias)


conv_transposed.defvjp(_transposed_forward, _transposed_backward)

_DOUBLED = Geometry(groups=1, strides=(1, 1), pads=((1, 1), (1, 1)), winograd=2, winograd_kernel=2)


@jax.custom_vjp
def doubled_conv(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Repeats every pixel twice in both directions, then convolves by minimal filtering, with a line of zeros around.

    Args:
      x: float32 [batch, H, W, in_channels].
      kernel: float32 [3, 3, in_channels, out_channels].
      bias: float32 [batch, out_channels].

    Returns:
      float32 [batch, 2 H, 2 W, out_channels].
    """

    def forward(x, kernel, bias):
        shape = (x.shape[0], 2 * x.shape[1], 2 * x.shape[2], kernel.shape[-1])
        attributes = dict(**_DOUBLED.for_winograd(), transposed=False, doubled=True)
        return _call("ddim_jax_winograd_conv", [shape], x, kernel, bias, **attributes)

    return _with_vmap(forward, weights=[1])(x, kernel, bias)[0]


def _doubled_forward(x, kernel, bias):
    return doubled_conv(x, kernel, bias), (x, kernel, bias)


def _doubled_backward(residuals, gradient):
    x, kernel, bias = residuals

    def backward(gradient, kernel, none):
        shape = (gradient.shape[0], *x.shape[-3:])
        attributes = dict(**_DOUBLED.for_winograd(), transposed=True, doubled=True)
        return _call("ddim_jax_winograd_conv", [shape], gradient, kernel, none, **attributes)

    dx = _with_vmap(backward, weights=[1])(gradient, kernel, no_bias(x.shape[0]))[0]
    dk = conv_grad_kernel(x, gradient, _DOUBLED, kernel.shape, doubled=True)
    return dx, dk, _grad_bias(gradient, bias)


doubled_conv.defvjp(_doubled_forward, _doubled_backward)


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
        return _call("ddim_jax_group_norm", shapes, x, scale, bias, **attributes)

    y, *of_groups = _with_vmap(forward, weights=[1, 2])(x, scale, bias)
    return y, (x, scale, bias, *of_groups)


def _norm_backward(groups, eps, silu, residuals, gradient):
    def backward(*operands):
        shapes = [operand.shape for operand in operands[:3]]
        return _call("ddim_jax_group_norm_grad", shapes, *operands, groups=groups, silu=silu)

    return tuple(_with_vmap(backward, weights=None)(*residuals, gradient))


norm.defvjp(_norm_forward, _norm_backward)


@jax.custom_vjp
def join(x: jax.Array, y: jax.Array) -> jax.Array:
    """float32 [batch, H, W, channels] and [batch, H, W, other channels] -> [batch, H, W, channels + other channels]."""

    def forward(x, y):
        return _call("ddim_jax_join", [(*x.shape[:3], x.shape[3] + y.shape[3])], x, y)

    return _with_vmap(forward, weights=[])(x, y)[0]


def _join_forward(x, y):
    return join(x, y), no_bias(x.shape[3])  # an array without a number, that says how many channels are of x


def _join_backward(nothing, gradient):
    return gradient[..., : len(nothing)], gradient[..., len(nothing) :]


join.defvjp(_join_forward, _join_backward)


def norm_of(arrays: Sequence[jax.Array]) -> jax.Array:
    """The square root of the sum of the squares of float32 arrays of any shapes, float32 []. No gradient, no vmap."""
    (norm,) = _call("ddim_jax_norm", [()], *arrays)
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
    call = jax.ffi.ffi_call(
        "ddim_jax_adam", results, input_output_aliases={1 + count + i: i for i in range(len(results))}
    )
    attributes = {"beta1": np.float32(beta1), "beta2": np.float32(beta2), "epsilon": np.float32(epsilon)}
    updated = call(jnp.append(numbers, after), *arrays, **attributes)
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

    return _with_vmap(draw, weights=[])(key[None], first[None])[0][0]

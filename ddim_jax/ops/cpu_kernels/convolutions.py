"""The compiled convolutions as JAX functions, with their gradients and with vmap; `calls.py` has what holds for all."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from ddim_jax.ops.cpu_kernels.foreign_call import call, with_vmap

Pads = tuple[tuple[int, int], tuple[int, int]]


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
            return call("ddim_jax_in_place_conv", [shape], x, kernel, bias, **geometry.zeros())
        if geometry.winograd:
            attributes = dict(**geometry.for_winograd(), transposed=False, doubled=False)
            return call("ddim_jax_winograd_conv", [shape], x, kernel, bias, **attributes)
        return call("ddim_jax_grouped_conv", [shape], x, kernel, bias, **geometry.attributes())

    return with_vmap(forward, weights=[1])(x, kernel, bias)[0]


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
            return call("ddim_jax_in_place_conv", [shape], y, jnp.swapaxes(kernel, 2, 3), bias, **geometry.zeros())
        if geometry.winograd:
            attributes = dict(**geometry.for_winograd(), transposed=True, doubled=False)
            return call("ddim_jax_winograd_conv", [shape], y, kernel, bias, **attributes)
        return call("ddim_jax_grouped_conv_transposed", [shape], y, kernel, bias, **geometry.attributes())

    return with_vmap(forward, weights=[1])(y, kernel, bias)[0]


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
            return call("ddim_jax_winograd_conv_grad_kernel", [kernel_shape], x, gradient, **attributes)
        return call("ddim_jax_grouped_conv_grad_kernel", [kernel_shape], x, gradient, **geometry.attributes())

    return with_vmap(backward, weights=None)(x, gradient)[0]


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
        return call("ddim_jax_winograd_conv", [shape], x, kernel, bias, **attributes)

    return with_vmap(forward, weights=[1])(x, kernel, bias)[0]


def _doubled_forward(x, kernel, bias):
    return doubled_conv(x, kernel, bias), (x, kernel, bias)


def _doubled_backward(residuals, gradient):
    x, kernel, bias = residuals

    def backward(gradient, kernel, none):
        shape = (gradient.shape[0], *x.shape[-3:])
        attributes = dict(**_DOUBLED.for_winograd(), transposed=True, doubled=True)
        return call("ddim_jax_winograd_conv", [shape], gradient, kernel, none, **attributes)

    dx = with_vmap(backward, weights=[1])(gradient, kernel, no_bias(x.shape[0]))[0]
    dk = conv_grad_kernel(x, gradient, _DOUBLED, kernel.shape, doubled=True)
    return dx, dk, _grad_bias(gradient, bias)


doubled_conv.defvjp(_doubled_forward, _doubled_backward)

"""Nearest upsampling followed by a 3 x 3 convolution, without the upsampled image.

Each pixel of the upsampled image has three equal neighbours, so the nine taps of the convolution see only four
different pixels: the taps that meet can be added up beforehand. What remains is the transpose of a 4 x 4 convolution
with stride 2, four taps for each pixel of the result instead of nine. With channels enough for minimal filtering, nine
multiplications make four pixels.
"""

import functools
import math

import jax
import jax.numpy as jnp

from ddim_jax.ops import cpu_kernels
from ddim_jax.ops.by_platform import by_platform
from ddim_jax.ops.grouped_conv import WINOGRAD_LEAST_CHANNELS, grouped_conv
from ddim_jax.ops.portable import is_portable

_LEAST_PIXELS = 256
"""Pixels of the batch before upsampling from which merging the taps costs less than it saves."""


def upsample_conv(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Repeats every pixel twice in both directions, then convolves with "SAME" zeros.

    With compiled kernels, float32 can be differentiated in reverse mode, once; within `portable_operations` in both
    modes, any number of times.

    Args:
      x: [batch, H, W, in_channels], float.
      kernel: [3, 3, in_channels, out_channels], the dtype of `x`.
      bias: [out_channels], the dtype of `x`.

    Returns:
      [batch, 2 H, 2 W, out_channels], the dtype of `x`.

    Raises:
      ValueError: `x` has not four axes, the kernel is not 3 x 3 or does not fit the channels of `x`, or the bias is of
        another size.
    """
    if len(x.shape) != 4:
        raise ValueError(f"x is {x.shape}; expected [batch, H, W, in_channels]")
    if len(kernel.shape) != 4 or kernel.shape[:3] != (3, 3, x.shape[-1]):
        raise ValueError(f"kernel is {kernel.shape}; expected (3, 3, {x.shape[-1]}, out_channels)")
    if bias.shape != kernel.shape[3:]:
        raise ValueError(f"bias is {bias.shape}; expected {kernel.shape[3:]}")
    compiled = cpu_kernels.available() and x.dtype == kernel.dtype == bias.dtype == jnp.float32
    if is_portable() or not compiled or kernel.size == 0 or math.prod(x.shape[:3]) < _LEAST_PIXELS:
        return _upsample_then_convolve(x, kernel, bias)
    return _traced_once(x, kernel, bias)


@functools.partial(jax.jit, inline=True)
def _traced_once(x, kernel, bias):
    """Traced once for all of a network that are alike."""
    return by_platform(x, kernel, bias, cpu=_compiled, default=_upsample_then_convolve)


def _upsample_then_convolve(x, kernel, bias):
    return grouped_conv(upsample_nearest(x), kernel, bias)


def _compiled(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    batch, height, width, _ = x.shape
    bias = jnp.broadcast_to(bias, (batch, *bias.shape))
    if min(kernel.shape[2:]) >= WINOGRAD_LEAST_CHANNELS:
        return cpu_kernels.doubled_conv(x, kernel, bias)
    geometry = cpu_kernels.Geometry(groups=1, strides=(2, 2), pads=((1, 1), (1, 1)))
    return cpu_kernels.conv_transposed(x, merged_kernel(kernel), bias, geometry, (2 * height, 2 * width))


def merged_kernel(kernel: jax.Array) -> jax.Array:
    """[3, 3, in, out] -> [4, 4, out, in]: the convolution with stride 2 whose transpose upsamples and convolves.

    Along one axis, with taps K0, K1, K2: K2, K1 + K2, K0 + K1, K0.
    """
    rows = jnp.stack([kernel[2], kernel[1] + kernel[2], kernel[0] + kernel[1], kernel[0]])
    merged = jnp.stack([rows[:, 2], rows[:, 1] + rows[:, 2], rows[:, 0] + rows[:, 1], rows[:, 0]], axis=1)
    return jnp.swapaxes(merged, 2, 3)


def upsample_nearest(x: jax.Array) -> jax.Array:
    """[batch, H, W, C] -> [batch, 2H, 2W, C], every pixel repeated twice in both directions."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)

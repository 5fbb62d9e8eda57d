"""Concatenation of the channels of two batches of images, on all processors of a CPU."""

import functools
import math

import jax
import jax.numpy as jnp

from ddim_jax.ops import cpu_kernels
from ddim_jax.ops.by_platform import by_platform
from ddim_jax.ops.portable import is_portable

_LEAST_FLOATS = 2**18
"""Numbers of the result from which a second thread saves more than a call costs."""


def join_channels(x: jax.Array, y: jax.Array) -> jax.Array:
    """The channels of `x`, then those of `y`: `jnp.concatenate([x, y], axis=-1)`.

    XLA copies on one thread of a CPU; large float32 arrays are copied by a compiled kernel, on all. Those can be
    differentiated in reverse mode, any number of times; within `portable_operations` in both modes.

    Args:
      x: [batch, H, W, channels].
      y: [batch, H, W, other channels], the dtype of `x`.

    Returns:
      [batch, H, W, channels + other channels], the dtype of `x`.

    Raises:
      ValueError: the arrays have not four axes, or differ in their dtype or in another axis than the last.
    """
    if len(x.shape) != 4 or len(y.shape) != 4 or x.shape[:3] != y.shape[:3] or x.dtype != y.dtype:
        raise ValueError(
            f"x is {x.dtype} {x.shape} and y {y.dtype} {y.shape}; expected [batch, H, W, channels] of one dtype, with "
            "the same batch, H and W"
        )
    if is_portable() or x.dtype != jnp.float32 or not cpu_kernels.available():
        return _concatenate(x, y)
    large = math.prod(x.shape[:3]) * (x.shape[3] + y.shape[3]) >= _LEAST_FLOATS
    return _traced_once(x, y) if large else _concatenate(x, y)


@functools.partial(jax.jit, inline=True)
def _traced_once(x, y):
    """Traced once for all of a network that are alike."""
    return by_platform(x, y, cpu=cpu_kernels.join, default=_concatenate)


def _concatenate(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.concatenate([x, y], axis=-1)

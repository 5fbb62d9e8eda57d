"""Group normalisation in one pass over the data, with the activation that follows it."""

import functools
import operator

import jax
import jax.numpy as jnp
from jax import lax

from ddim_jax.ops import cpu_kernels
from ddim_jax.ops.by_platform import by_platform
from ddim_jax.ops.portable import is_portable


def group_norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, *, groups: int, eps: float = 1e-6, silu: bool = False
) -> jax.Array:
    """Group normalisation (Wu and He, 2018), optionally followed by SiLU, in float32 inside.

    Both moments are taken in one pass; with `scale` and `bias` they make one subtraction, one multiplication and one
    addition for each pixel. A one-pass variance E[x^2] - E[x]^2 cancels badly where the mean is large beside the
    deviation; here everything is taken relative to one pixel of the group, which removes the large part first. With
    compiled kernels, float32 can be differentiated in reverse mode, once; within `portable_operations` in both modes,
    any number of times.

    Args:
      x: [batch, H, W, channels], any float dtype.
      scale: float32 [channels].
      bias: float32 [channels].
      groups: divides channels.
      eps: added to the variance.
      silu: apply y * sigmoid(y) to the result.

    Returns:
      Shape and dtype of `x`; float64 has the digits of float32.

    Raises:
      ValueError: `x` has not four axes, groups does not divide the channels, or `scale` or `bias` is of another size.
    """
    if len(x.shape) != 4:
        raise ValueError(f"x is {x.shape}; expected [batch, H, W, channels]")
    channels = x.shape[-1]
    groups = operator.index(groups)
    if groups < 1 or channels % groups:
        raise ValueError(f"{groups} groups do not divide {channels} channels")
    if not scale.shape == bias.shape == (channels,):
        raise ValueError(f"scale is {scale.shape} and bias {bias.shape}; expected ({channels},) for both")
    if x.size == 0:
        return x
    if is_portable():
        return _one_pass(x, scale, bias, groups=groups, eps=eps, silu=silu)
    with_kernels = cpu_kernels.available() and x.dtype == scale.dtype == bias.dtype == jnp.float32
    return _traced_once(x, scale, bias, groups, eps, silu, with_kernels)


@functools.partial(jax.jit, static_argnums=(3, 4, 5, 6), inline=True)
def _traced_once(x, scale, bias, groups, eps, silu, with_kernels):
    """Traced once for all normalisations of a network that are alike."""
    one_pass = functools.partial(_one_pass, groups=groups, eps=eps, silu=silu)
    if not with_kernels:
        return one_pass(x, scale, bias)
    return by_platform(
        x, scale, bias, cpu=lambda x, scale, bias: cpu_kernels.norm(x, scale, bias, groups, eps, silu), default=one_pass
    )


def _one_pass(x: jax.Array, scale: jax.Array, bias: jax.Array, *, groups: int, eps: float, silu: bool) -> jax.Array:
    channels = x.shape[-1]
    x32 = x.astype(jnp.float32)
    # Any pixel of the group will do: the result does not depend on it, so no gradient flows through it.
    pivot = lax.stop_gradient(jnp.repeat(x32[:, :1, :1, :: channels // groups], channels // groups, axis=-1))
    centred = x32 - pivot
    mean = _mean_over_group(jnp.mean(centred, axis=(1, 2), keepdims=True), groups)
    square = _mean_over_group(jnp.mean(jnp.square(centred), axis=(1, 2), keepdims=True), groups)
    variance = jnp.maximum(square - jnp.square(mean), 0.0)
    y = (centred - mean) * (lax.rsqrt(variance + eps) * scale) + bias
    if silu:
        y = jax.nn.silu(y)
    return y.astype(x.dtype)


def _mean_over_group(values: jax.Array, groups: int) -> jax.Array:
    """The mean over each group's channels of [batch, 1, 1, channels], repeated for every channel of the group."""
    batch, channels = values.shape[0], values.shape[-1]
    means = jnp.mean(values.reshape(batch, 1, 1, groups, channels // groups), axis=-1, keepdims=True)
    return jnp.broadcast_to(means, (batch, 1, 1, groups, channels // groups)).reshape(values.shape)

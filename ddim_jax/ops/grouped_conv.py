"""Grouped convolution, lowered for the platform it runs on.

A grouped convolution splits the channels into `groups` independent convolutions. It does 1/groups of the arithmetic of
an ordinary one, but stock kernels lose more than they save: XLA's own gradients on CPU take 27 to 720 times as long as
need be, at 2 to 64 pixels a side (benchmarks/results/grouped_conv_cpu.json), and on a GPU groups of 8 channels starve
the matrix units. The ways out that are used here:

On CPU, where they are built, compiled kernels (`ops/cpu_kernels`): direct sums or, for most 3 x 3 kernels, minimal
filtering, which multiplies 36 times in place of 144, or 16 times in place of 36. Small ordinary ones are summed without
a copy of pixels or weights; those of few pixels and many weights are one matrix product.

Elsewhere *supergroups*: m neighbouring groups become one ordinary convolution whose kernel is block diagonal, m small
blocks on the diagonal and zeros elsewhere. That does m times the arithmetic, in kernels that run many times faster, so
the width of a supergroup is a trade that each platform settles differently. m = groups is one dense convolution, m = 1
is one convolution for each group.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from ddim_jax.ops import cpu_kernels
from ddim_jax.ops.by_platform import by_platform
from ddim_jax.ops.portable import is_portable

Pads = tuple[tuple[int, int], tuple[int, int]]
Padding = str | Sequence[tuple[int, int]]

_LAYOUT = ("NHWC", "HWIO", "NHWC")

_FEW_PIXELS = 1024
"""Pixels of the batch from which the compiled kernels do convolutions of 1 x 1 too."""
_FEW_WEIGHTS = 2**17
"""Weights of a convolution that stay in the second-level cache, from image to image."""
_MANY_WEIGHTS_TO_A_PIXEL = 2**13
"""From so many to each pixel of the result, reading the weights is most of the work of an ordinary convolution: on a
CPU one matrix product reads them once, unless they are few."""
WINOGRAD_LEAST_CHANNELS = 16
"""Channels of a group, outside (of upsampling also inside), from which minimal filtering in tiles of 2 x 2 saves more
than its transforms cost."""
WINOGRAD_LEAST_INPUTS = 12
"""Least channels of a group inside; and of the gradient of the kernel in tiles of 4 x 4, which takes half as many
outside."""
_WINOGRAD_NARROWEST = 4
"""Least channels of a group on both sides for tiles of 4 x 4, for which groups are transformed together, where tiles
are enough."""
_MANY_TILES = 64
"""Tiles of 4 x 4 of the batch beside which transforming the kernel does not count; of narrow groups half of them."""
_TILES_OF_A_KERNEL = 40
"""Tiles that take as long as transforming the kernel for them, where there are few."""
_MANY_WEIGHTS = 2**16
"""Weights of a group that leave the second-level cache, transformed for tiles of 4 x 4: twice `_MANY_TILES` then."""
_IN_PLACE_WEIGHTS = 2**13
"""Weights of a 1 x 1 convolution that stay in the first-level cache: its pixels are read where they lie."""
_IN_PLACE_PLACES = 4
"""Pixels of an image up to which a 3 x 3 convolution reads its weights where they lie: four of its taps are used."""
_CPU_WIDTH = 32
"""Channels of a supergroup on CPU, on its narrower side: at most shapes the fastest with its gradients, or near it."""
_CPU_MAX_SUPERGROUPS = 8
"""At most this many convolutions for one grouped one on CPU: each costs compile time."""
_GPU_WIDTH = 256
"""Input channels of a supergroup on a GPU, at most."""
_GPU_SMALL_IMAGE = 16 * 16
"""Up to this many pixels, one native grouped convolution beats several launches of ordinary ones."""


def grouped_conv(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    groups: int = 1,
    strides: tuple[int, int] = (1, 1),
    padding: Padding = "SAME",
) -> jax.Array:
    """Two-dimensional convolution in `groups` groups; the value of `lax.conv_general_dilated` with feature_group_count.

    Output channel o belongs to group o // (out_channels / groups) and sees only the input channels of that group.
    The lowering is chosen when the program is lowered for a platform; gradients follow from it. A process with a CPU
    alone makes programs for CPUs, and `portable_operations` those for other platforms. With compiled kernels, float32
    can be differentiated in reverse mode, once; within `portable_operations` in both modes, any number of times.
    Minimal filtering, on CPUs, adds inputs before it multiplies them: those beyond a hundredth of what float32 holds
    may overflow, and one that is not finite spreads over the tiles, of up to 4 x 4 results, that see it.

    Args:
      x: [batch, H, W, in_channels], float.
      kernel: [kh, kw, in_channels / groups, out_channels], the dtype of `x`.
      bias: added to every pixel: [out_channels], or [batch, out_channels] with one row for each image.
      groups: divides in_channels and out_channels; 1 is an ordinary convolution.
      strides: (rows, columns), from 1.
      padding: "SAME", "VALID" or ((top, bottom), (left, right)), from 0.

    Returns:
      [batch, H', W', out_channels], the dtype of `x`.

    Raises:
      ValueError: `x` or `kernel` has not four axes, their dtypes differ, the channels do not fit `groups`, the bias is
        of another size, a stride is below 1, or a padding below 0 or of another name.
    """
    if len(x.shape) != 4 or len(kernel.shape) != 4:
        raise ValueError(
            f"x is {x.shape} and the kernel {kernel.shape}; expected [batch, H, W, in_channels] and "
            "[kh, kw, in_channels / groups, out_channels]"
        )
    if jnp.result_type(x) != jnp.result_type(kernel):
        raise ValueError(f"x is {jnp.result_type(x)} and the kernel {jnp.result_type(kernel)}; expected one dtype")
    groups = operator.index(groups)
    in_channels, out_channels = x.shape[-1], kernel.shape[-1]
    if groups < 1 or in_channels != groups * kernel.shape[-2] or out_channels % groups:
        raise ValueError(
            f"x has {in_channels} channels and the kernel is {kernel.shape} (kh, kw, in/groups, out), which does not "
            f"fit {groups} groups"
        )
    if bias is not None and bias.shape not in ((out_channels,), (x.shape[0], out_channels)):
        raise ValueError(f"bias is {bias.shape}; expected ({out_channels},) or ({x.shape[0]}, {out_channels})")
    strides = tuple(map(operator.index, strides))
    if len(strides) != 2 or min(strides) < 1:
        raise ValueError(f"strides are {strides}; expected two of at least 1")
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ValueError(f"padding is {padding!r}; expected SAME, VALID or ((top, bottom), (left, right))")
        padding = lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
    pads = tuple(tuple(map(operator.index, sides)) for sides in padding)
    if [len(sides) for sides in pads] != [2, 2] or min(map(min, pads)) < 0:
        raise ValueError(f"padding is {pads}; expected ((top, bottom), (left, right)) of at least 0: crop x beforehand")
    if is_portable():
        return _add_bias(_conv(x, kernel, strides, pads, groups), bias)
    return _traced_once(x, kernel, bias, groups, strides, pads, cpu_kernels.available())


@functools.partial(jax.jit, static_argnums=(3, 4, 5, 6), inline=True)
def _traced_once(x, kernel, bias, groups, strides, pads, with_kernels):
    """Traced once for all convolutions of a network that are alike, with the forms of all platforms."""
    pixels = math.prod(x.shape[:3])
    size = cpu_kernels.Geometry(groups, strides, pads).out_size(x.shape[1:3], kernel.shape[:2])
    empty = 0 in (x.size, kernel.size, *size)
    all_float32 = all(array.dtype == jnp.float32 for array in (x, kernel, bias) if array is not None)
    with_kernels = with_kernels and all_float32 and not empty
    if kernel.shape[:2] == (1, 1) and strides == (1, 1) and pads == ((0, 0), (0, 0)):
        cpu = gpu = functools.partial(_pointwise, groups=groups)
        with_kernels = with_kernels and (groups > 1 or pixels >= _FEW_PIXELS)
    else:
        gpu = _gpu_lowering(x.shape, kernel.shape, groups, strides, pads)
        many_weights = max(_FEW_WEIGHTS, _MANY_WEIGHTS_TO_A_PIXEL * pixels // math.prod(strides))
        if groups == 1 and not empty and kernel.size > many_weights:
            cpu = functools.partial(_matrix_product, strides=strides, pads=pads)
            with_kernels = False
        else:
            cpu = _supergroups(kernel.shape, groups, strides, pads)
    cpu = _compiled(x.shape, kernel.shape, groups, strides, pads) if with_kernels else _then_bias(cpu)
    return by_platform(x, kernel, bias, cpu=cpu, default=_then_bias(gpu))


def _add_bias(y: jax.Array, bias: jax.Array | None) -> jax.Array:
    return y if bias is None else y + (bias if bias.ndim == 1 else bias[:, None, None, :])


def _then_bias(lowering):
    return lambda x, kernel, bias: _add_bias(lowering(x, kernel), bias)


def _winograd(x_shape, kernel_shape, groups, size) -> tuple[int, int]:
    """Sides of the tiles of minimal filtering, of a 3 x 3 convolution and the gradient of its kernel; 0: direct sums.

    What benchmarks/results/tiles_avx512.json bears out.
    """
    group_in, group_out = kernel_shape[2], kernel_shape[3] // groups
    of_four, of_two = (x_shape[0] * math.prod(-(-length // side) for length in size) for side in (4, 2))
    wide = group_in >= WINOGRAD_LEAST_INPUTS and group_out >= WINOGRAD_LEAST_CHANNELS
    if not wide:
        enough = min(group_in, group_out) >= _WINOGRAD_NARROWEST and of_four >= _MANY_TILES // 2
        kernels_too = group_in >= WINOGRAD_LEAST_INPUTS and group_out >= WINOGRAD_LEAST_CHANNELS // 2
        return 4 * enough, 4 * (enough and kernels_too)
    if group_in * group_out > _MANY_WEIGHTS:
        side = 4 if of_four >= 2 * _MANY_TILES else 2
    else:
        with_kernel = 36 * (of_four + _TILES_OF_A_KERNEL) < 16 * (of_two + _TILES_OF_A_KERNEL)
        side = 4 if of_four >= _MANY_TILES or with_kernel else 2
    return side, side


def _compiled(x_shape, kernel_shape, groups, strides, pads):
    """The call of the compiled kernels."""
    three_by_three = (*kernel_shape[:2], *strides) == (3, 3, 1, 1)
    geometry = cpu_kernels.Geometry(groups, strides, pads)
    size = geometry.out_size(x_shape[1:3], kernel_shape[:2])
    winograd, of_kernel = _winograd(x_shape, kernel_shape, groups, size) if three_by_three else (0, 0)
    few_weights = kernel_shape[:2] == (1, 1) and math.prod(kernel_shape) <= _IN_PLACE_WEIGHTS
    few_places = three_by_three and math.prod(x_shape[1:3]) <= _IN_PLACE_PLACES
    in_place = groups == 1 and strides == (1, 1) and (few_weights or few_places)
    geometry = dataclasses.replace(geometry, winograd=winograd, winograd_kernel=of_kernel, in_place=in_place)

    def with_bias(x, kernel, bias):
        batch = x.shape[0]
        rows = cpu_kernels.no_bias(batch) if bias is None else jnp.broadcast_to(bias, (batch, bias.shape[-1]))
        return cpu_kernels.conv(x, kernel, rows, geometry)

    return with_bias


def _supergroups(kernel_shape, groups, strides, padding):
    merge = _cpu_merge(groups, min(kernel_shape[-2], kernel_shape[-1] // groups))
    return lambda x, kernel: _supergroup_conv(x, kernel, groups, merge, strides, padding)


def _gpu_lowering(x_shape, kernel_shape, groups, strides, padding):
    """The native convolution for groups as wide outside as inside and for small images, wide blocks for the others.

    Measured on an H100 in bfloat16, batch 20, forward / backward in ms (benchmarks/results/
    grouped_conv_h100.json): 256 x 256, 256 -> 128 channels in 32 groups: native 3.9 / 5.1, one dense convolution
    1.0 / 2.1. 64 x 64, 512 -> 256 in 32: native 0.50 / 0.73, supergroups of 128 channels 0.28 / 0.44, dense
    0.27 / 0.55. 16 x 16, 512 -> 512 in 32: native 0.08 / 0.08, dense 0.10 / 0.13.

    Two choices are not borne out by it. 128 -> 128 channels in 16 groups: native 0.636 / 1.046, dense 0.545 / 1.027 at
    256 x 256, and 0.181 / 0.326, 0.161 / 0.309 at 128 x 128; native was kept, 12 to 17% slower forward. For 512 -> 256
    channels, blocks of 256, which are used, were not timed.
    """
    group_in, group_out = kernel_shape[-2], kernel_shape[-1] // groups
    if groups == 1:
        return lambda x, kernel: _conv(x, kernel, strides, padding)
    small = x_shape[1] * x_shape[2] <= _GPU_SMALL_IMAGE
    if group_in == group_out or small:
        return lambda x, kernel: _conv(x, kernel, strides, padding, groups)
    merge = max(m for m in range(1, groups + 1) if groups % m == 0 and (m == 1 or m * group_in <= _GPU_WIDTH))
    return lambda x, kernel: _supergroup_conv(x, kernel, groups, merge, strides, padding)


def _conv(x, kernel, strides, padding, groups=1):
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_LAYOUT, feature_group_count=groups)


def _cpu_merge(groups: int, group_width: int) -> int:
    """The number of neighbouring groups in a supergroup on CPU: the fewest that reach width and number (a divisor)."""
    return next(
        m
        for m in range(1, groups + 1)
        if groups % m == 0 and (m == groups or (m * group_width >= _CPU_WIDTH and groups // m <= _CPU_MAX_SUPERGROUPS))
    )


def _pointwise(x: jax.Array, kernel: jax.Array, groups: int) -> jax.Array:
    """A 1 x 1 convolution is a matrix product, batched over the groups; every backend has a good one."""
    batch, height, width, _ = x.shape
    if groups == 1:
        return jnp.einsum("bhwi,io->bhwo", x, kernel[0, 0])
    group_in, out_channels = kernel.shape[-2:]
    y = jnp.einsum(
        "bhwgi,igo->bhwgo",
        x.reshape(batch, height, width, groups, group_in),
        kernel.reshape(group_in, groups, out_channels // groups),
    )
    return y.reshape(batch, height, width, out_channels)


def _matrix_product(x: jax.Array, kernel: jax.Array, *, strides: tuple[int, int], pads: Pads) -> jax.Array:
    """An ordinary convolution as one product: [pixels, kh * kw * in] times [kh * kw * in, out]."""

    @jax.checkpoint  # the pixels under all taps, side by side, are copied again for the gradient, not kept
    def product(x, kernel):
        x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
        sizes = zip(x.shape[1:3], kernel.shape[:2], strides, strict=True)
        rows, columns = ((size - taps) // stride * stride + 1 for size, taps, stride in sizes)
        under_taps = [
            x[:, row : row + rows : strides[0], column : column + columns : strides[1]]
            for row in range(kernel.shape[0])
            for column in range(kernel.shape[1])
        ]
        return jnp.einsum("bhwi,io->bhwo", jnp.concatenate(under_taps, -1), kernel.reshape(-1, kernel.shape[-1]))

    return product(x, kernel)


def _supergroup_conv(x, kernel, groups, merge, strides, padding):
    """`groups / merge` ordinary convolutions on slices of the channels, each with a block-diagonal kernel."""
    if groups == 1:
        return _conv(x, kernel, strides, padding)
    kernels = _block_diagonal(kernel, groups, merge)
    slices = jnp.split(x, groups // merge, axis=-1)
    parts = [_conv(part, k, strides, padding) for part, k in zip(slices, kernels, strict=True)]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)


def _block_diagonal(kernel: jax.Array, groups: int, merge: int) -> jax.Array:
    """[kh, kw, in/groups, out] -> [groups/merge, kh, kw, merge * in/groups, merge * out/groups]."""
    kh, kw, group_in, out_channels = kernel.shape
    group_out = out_channels // groups
    blocks = kernel.reshape(kh, kw, group_in, groups // merge, merge, group_out)
    dense = jnp.einsum("hwismo,mn->shwnimo", blocks, jnp.eye(merge, dtype=kernel.dtype))
    return dense.reshape(groups // merge, kh, kw, merge * group_in, merge * group_out)

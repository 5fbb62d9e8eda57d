"""Building blocks of the U-Nets: convolution, normalisation, attention, residual block, time embedding, the way up."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ddim_jax.ops import group_norm, grouped_conv, join_channels, upsample_conv

Dtype = Any
GROUP_WIDTH = 8
MAX_GROUPS = 32


def light_groups(in_channels: int, out_channels: int, limit: int | None = None) -> int:
    """The paper's number of groups, min(32, D/8) with D = in_channels, lowered to a common divisor of both channels.

    Args:
      in_channels: D, the channels that enter the convolution.
      out_channels: the channels that leave it.
      limit: another wish than min(32, D/8), lowered in the same way.
    """
    wish = limit if limit is not None else min(MAX_GROUPS, in_channels // GROUP_WIDTH)
    common = math.gcd(in_channels, out_channels)
    return max(g for g in range(1, max(wish, 1) + 1) if common % g == 0)


class Conv(nn.Module):
    """Convolution with bias through `ops.grouped_conv`; parameters float32, arithmetic in `dtype`.

    Attributes:
      features: output channels.
      kernel_size: side of the square kernel.
      groups: groups of channels, 1 for an ordinary convolution.
      strides: step in both directions.
      padding: as for `ops.grouped_conv`.
      dtype: of the arithmetic and the output.
    """

    features: int
    kernel_size: int = 3
    groups: int = 1
    strides: int = 1
    padding: Any = "SAME"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, shift: jax.Array | None = None) -> jax.Array:
        """[batch, H, W, in_channels] -> [batch, H', W', features], plus `shift` [batch, features] at every pixel."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return grouped_conv(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            bias if shift is None else bias + shift,
            groups=self.groups,
            strides=(self.strides, self.strides),
            padding=self.padding,
        )


class UpsampleConv(nn.Module):
    """Nearest upsampling by two, then a 3 x 3 convolution with bias, through `ops.upsample_conv`."""

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, H, W, in_channels] -> [batch, 2 H, 2 W, features]."""
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return upsample_conv(x.astype(self.dtype), kernel.astype(self.dtype), bias.astype(self.dtype))


class Norm(nn.Module):
    """Group normalisation in float32, with SiLU if `silu`, in as many groups as divide both `groups` and channels."""

    groups: int = 32
    silu: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        return group_norm(x, scale, bias, groups=math.gcd(self.groups, channels), silu=self.silu)


class Attention(nn.Module):
    """Self-attention over the pixels, one head, added to its input.

    Ordinary: Q, K, V are 1 x 1 convolutions to all C channels. Light (the paper's section 3.2): Q, K, V are grouped
    1 x 1 convolutions to C/4 channels, an ordinary one leads back to C. The softmax is taken in float32, with scale
    (channels of Q)^-0.5. If `dual`, `ChannelAttention` on the same normalised input is added as well (DANet, Fu et al.
    2019, arXiv 1809.02983: attention over positions plus attention over channels).
    """

    light: bool
    norm_groups: int = 32
    dtype: Dtype = jnp.float32
    dual: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        y = Norm(self.norm_groups, name="norm")(x)
        q, k, v = _projections(y, self.light, self.dtype)
        logits = jnp.einsum("bqc,bkc->bqk", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
        weights = jax.nn.softmax(logits, axis=-1).astype(self.dtype)
        z = jnp.einsum("bqk,bkc->bqc", weights, v).reshape(batch, height, width, -1)
        x = x + Conv(channels, kernel_size=1, dtype=self.dtype, name="proj_out")(z)
        return x + ChannelAttention(self.light, self.dtype, name="channel")(y) if self.dual else x


class ChannelAttention(nn.Module):
    """Attention of channels to channels, to be added to its input.

    With Q, K, V projected as those of `Attention` are, the weight of channel i for channel j is the softmax over i of
    the mean over the pixels of Q_j K_i: a mean, so that it does not depend on the size of the image. The sum of the
    channels of V with these weights is led back to C channels and multiplied by a number that is learnt, from 0: at
    first nothing is added (Fu et al.'s beta). They project nothing; here channels that are normalised would each attend
    to themselves.
    """

    light: bool
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, y: jax.Array) -> jax.Array:
        """[batch, H, W, C], normalised -> [batch, H, W, C]."""
        height, width, channels = y.shape[1:]
        q, k, v = _projections(y, self.light, self.dtype)
        logits = jnp.einsum("bpj,bpi->bji", q, k, preferred_element_type=jnp.float32) / (height * width)
        weights = jax.nn.softmax(logits, axis=-1).astype(self.dtype)
        z = jnp.einsum("bji,bpi->bpj", weights, v).reshape(*y.shape[:3], -1)
        scale = self.param("scale", nn.initializers.zeros, ()).astype(self.dtype)
        return scale * Conv(channels, kernel_size=1, dtype=self.dtype, name="proj_out")(z)


def _projections(y: jax.Array, light: bool, dtype: Dtype) -> list[jax.Array]:
    """Q, K and V of the attention in whose `__call__` this is called, each [batch, pixels, C or C/4 if light]."""
    batch, height, width, channels = y.shape
    inner = channels // 4 if light else channels
    found = []
    for name, wish in (("q", None), ("k", MAX_GROUPS), ("v", MAX_GROUPS)):
        groups = light_groups(channels, inner, wish) if light else 1
        z = Conv(inner, kernel_size=1, groups=groups, dtype=dtype, name=name)(y)
        found.append(z.reshape(batch, height * width, inner))
    return found


class ResidualBlock(nn.Module):
    """norm, SiLU, 3 x 3 conv, + time, norm, SiLU, dropout, 3 x 3 conv, + shortcut; both 3 x 3 grouped if light.

    With `shuffle`, the channels are shuffled before the second grouped convolution, so that each of its groups sees all
    of the first one's (at most as many as it has channels). Without, as in the paper, what enters in one group never
    meets another inside a block.
    """

    features: int
    light: bool
    norm_groups: int = 32
    dropout: float = 0.0
    dtype: Dtype = jnp.float32
    shuffle: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array, train: bool = False) -> jax.Array:
        """x [batch, H, W, in_channels], time [batch, channels of the embedding] -> [batch, H, W, features]."""
        in_channels = x.shape[-1]

        def groups(entering: int) -> int:
            return light_groups(entering, self.features) if self.light else 1

        def conv(name: str, entering: int) -> Conv:
            return Conv(self.features, groups=groups(entering), dtype=self.dtype, name=name)

        y = Norm(self.norm_groups, silu=True, name="norm1")(x)
        shift = nn.Dense(self.features, dtype=self.dtype, name="temb_proj")(nn.silu(time))
        y = conv("conv1", in_channels)(y, shift)
        y = Norm(self.norm_groups, silu=True, name="norm2")(y)
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        if self.shuffle:
            y = channel_shuffle(y, groups(in_channels))
        y = conv("conv2", self.features)(y)
        if in_channels != self.features:
            x = Conv(self.features, kernel_size=1, dtype=self.dtype, name="shortcut")(x)
        return x + y


def residual_block(remat: bool) -> Callable[..., ResidualBlock]:
    """The class to build residual blocks with: one that is computed again on the way back if `remat`."""
    return nn.remat(ResidualBlock, static_argnums=(3,)) if remat else ResidualBlock  # 3: train, with self as 0


def channel_shuffle(x: jax.Array, groups: int) -> jax.Array:
    """[..., C] -> [..., C]: channel i of group g becomes channel i groups + g (Zhang et al. 2018, arXiv 1707.01083).

    Args:
      x: its channels are `groups` groups of C/groups.
      groups: a divisor of C.
    """
    grouped = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    return jnp.swapaxes(grouped, -1, -2).reshape(x.shape)


def timestep_embedding(t: jax.Array, channels: int) -> jax.Array:
    """Sinusoids of the timestep, [batch] -> float32 [batch, channels]: sines of t f_k first, then cosines.

    f_k = exp(-ln(10000) k / (channels/2 - 1)), k = 0 .. channels/2 - 1, as in DDPM.
    """
    half = channels // 2
    frequencies = jnp.exp(-math.log(10000.0) / (half - 1) * jnp.arange(half, dtype=jnp.float32))
    angles = t.astype(jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def time_features(t: jax.Array, channels: int, dtype: Dtype) -> jax.Array:
    """[batch] -> [batch, 4 channels]: `timestep_embedding` and two layers, of the network in whose `__call__` it is."""
    time = nn.Dense(4 * channels, dtype=dtype, name="temb_dense_0")(timestep_embedding(t, channels))
    return nn.Dense(4 * channels, dtype=dtype, name="temb_dense_1")(nn.silu(time))


def decode(
    network: Any,
    x: jax.Array,
    skips: list[jax.Array],
    block: Callable[[str, int, jax.Array], jax.Array],
    attend: Callable[[str, jax.Array], jax.Array],
) -> jax.Array:
    """The bottleneck, the way up and the output of the U-Net in whose `__call__` this is called.

    Args:
      network: the U-Net, for its sizes.
      x: [batch, h, w, channels], what enters the bottleneck.
      skips: what the way down kept, the deepest last; all are used.
      block, attend: give the output of the residual block, with so many features, and of the attention of a name.

    Returns:
      float32 [batch, H, W, mask_channels].
    """
    x = block("mid_block_1", x.shape[-1], x)
    x = attend("mid_attn_1", x)
    x = block("mid_block_2", x.shape[-1], x)
    for level, multiplier in reversed(list(enumerate(network.channel_multipliers))):
        for index in range(network.blocks_per_level + 1):
            x = join_channels(x, skips.pop())
            x = block(f"up_{level}_block_{index}", multiplier * network.base_channels, x)
            if level in network.attention_levels:
                x = attend(f"up_{level}_attn_{index}", x)
        if level != 0:
            x = UpsampleConv(x.shape[-1], network.dtype, name=f"up_{level}_upsample")(x)
    assert not skips
    x = Norm(network.norm_groups, silu=True, name="norm_out")(x)
    x = Conv(network.mask_channels * network.stem_stride**2, dtype=network.dtype, name="conv_out")(x)
    return depth_to_space(x, network.stem_stride).astype(jnp.float32)


def space_to_depth(x: jax.Array, patch: int) -> jax.Array:
    """[batch, H, W, C] -> [batch, H/patch, W/patch, patch^2 C]: each patch of pixels becomes one pixel's channels."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // patch, patch, width // patch, patch, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height // patch, width // patch, patch * patch * channels)


def depth_to_space(x: jax.Array, patch: int) -> jax.Array:
    """The inverse of `space_to_depth`."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, patch, patch, channels // (patch * patch))
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * patch, width * patch, -1)

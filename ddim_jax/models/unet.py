"""The denoising U-Net of DDIM, standard and lightweight: one class, one graph."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ddim_jax.fields import Field
from ddim_jax.models.layers import (
    Attention,
    Conv,
    decode,
    residual_block,
    space_to_depth,
    time_features,
)
from ddim_jax.models.levels import FIELDS, HalvedLevels, check_levels
from ddim_jax.models.spec import ModelSpec
from ddim_jax.registry import MODELS


class DenoisingUNet(HalvedLevels, nn.Module):
    """eps_theta(x_t, c, t), or an estimate of x_0: the U-Net of DDIM (Song et al. 2021) on concat(x_t, c).

    The defaults are the network for 256 x 256; `light` turns it into the paper's. Attention sits at levels of the
    U-Net, never at a number of pixels, so the parameters do not depend on the image size. Height and width have to be
    multiples of `size_multiple`.

    Attributes:
      light: grouped 3 x 3 convolutions in the residual blocks and grouped attention projections.
      base_channels: channels at the first level; the time embedding has four times as many.
      channel_multipliers: of base_channels, one for each level; the resolution halves from level to level.
      blocks_per_level: residual blocks at a level on the way down; one more on the way up.
      attention_levels: the levels, counted from 0, with attention after each block; the bottleneck always has one.
      attention: "position", over the pixels, or "dual", over the pixels and over the channels.
      norm_groups: groups of the group normalisation, or their greatest common divisor with the channels.
      dropout: rate inside the residual blocks while training.
      stem_stride: side of the patches the stem folds into channels (space to depth), 1 for none.
      channel_shuffle: whether the residual blocks shuffle channels between their grouped convolutions (the paper: no);
        no effect where nothing is grouped.
      remat: whether training keeps only what enters each residual block and computes its inside again on the way back
        (Chen et al. 2016, arXiv 1604.06174): less memory, more time, the same values.
      mask_channels: of the noisy mask and of what is estimated (`ddim_jax.labels.Labels.channels`).
      dtype: of the arithmetic ("float32" or "bfloat16"); parameters, normalisation and softmax are float32.
    """

    light: bool = False
    base_channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    blocks_per_level: int = 2
    attention_levels: tuple[int, ...] = (4,)
    attention: str = "position"
    norm_groups: int = 32
    dropout: float = 0.0
    stem_stride: int = 1
    channel_shuffle: bool = False
    remat: bool = False
    mask_channels: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, noisy_mask: jax.Array, image: jax.Array, t: jax.Array, *, train: bool = False) -> jax.Array:
        """[B, H, W, C], [B, H, W, 3] in [-1, 1], int [B] -> float32 [B, H, W, C], C = `mask_channels`.

        Raises:
          ValueError: H or W is not a multiple of `size_multiple`.
        """
        self.check_size(noisy_mask)

        def conv(name: str, features: int, **options) -> Conv:
            return Conv(features, dtype=self.dtype, name=name, **options)

        def block(name: str, features: int, x: jax.Array) -> jax.Array:
            layer = residual_block(self.remat)(
                features, self.light, self.norm_groups, self.dropout, self.dtype, self.channel_shuffle, name=name
            )
            return layer(x, time, train)

        def attend(name: str, x: jax.Array) -> jax.Array:
            return Attention(self.light, self.norm_groups, self.dtype, self.attention == "dual", name=name)(x)

        time = time_features(t, self.base_channels, self.dtype)
        levels = len(self.channel_multipliers)
        x = jnp.concatenate([noisy_mask, image], axis=-1).astype(self.dtype)
        x = conv("conv_in", self.base_channels)(space_to_depth(x, self.stem_stride))
        skips = [x]
        for level, multiplier in enumerate(self.channel_multipliers):
            for index in range(self.blocks_per_level):
                x = block(f"down_{level}_block_{index}", multiplier * self.base_channels, x)
                if level in self.attention_levels:
                    x = attend(f"down_{level}_attn_{index}", x)
                skips.append(x)
            if level != levels - 1:
                # The reference pads only below and to the right, then convolves without padding.
                x = conv(f"down_{level}_downsample", x.shape[-1], strides=2, padding=((0, 1), (0, 1)))(x)
                skips.append(x)

        return decode(self, x, skips, block, attend)


SMALL = {
    "base_channels": 24,
    "channel_multipliers": (1, 2, 3, 4),
    "blocks_per_level": 1,
    "attention_levels": (),
    "norm_groups": 8,
    "stem_stride": 2,
}
"""For CPUs: the demo, the tests, images of 64 to 128 pixels."""

OWN = {
    "attention": Field(
        str,
        help="kind of attention: over positions, or over positions and channels (dual)",
        choices=("position", "dual"),
    ),
    "channel_shuffle": Field(bool, help="shuffle channels between the grouped convolutions"),
}

for _name, _light in (("lightweight_ddim", True), ("ddim", False)):
    MODELS.register(_name)(
        ModelSpec(
            DenoisingUNet,
            {"light": _light},
            presets={"small": SMALL},
            ranges=FIELDS | OWN,
            check=functools.partial(check_levels, lists=("attention_levels",)),
        )
    )

"""A plain U-Net on the image alone: the baseline that a diffusion model has to be worth its cost beside."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ddim_jax.diffusion import DirectProcess
from ddim_jax.models.layers import Conv, Norm, depth_to_space, space_to_depth
from ddim_jax.models.levels import FIELDS, HalvedLevels, check_levels
from ddim_jax.models.spec import ModelSpec
from ddim_jax.ops import join_channels
from ddim_jax.registry import MODELS


class Levels(HalvedLevels, nn.Module):
    """The fields of networks with levels of halved resolution.

    Attributes:
      base_channels: channels at the first level.
      channel_multipliers: of base_channels, one for each level; the resolution halves from level to level.
      blocks_per_level: blocks at a level, on the way down and on the way up.
      norm_groups: groups of the group normalisation, or their greatest common divisor with the channels.
      dropout: rate after every level of the way down while training.
      stem_stride: side of the patches the stem folds into channels (space to depth), 1 for none.
      mask_channels: of the answer (`ddim_jax.labels.Labels.channels`).
      dtype: of the arithmetic ("float32" or "bfloat16"); parameters and normalisation are float32.
    """

    base_channels: int = 56
    channel_multipliers: tuple[int, ...] = (1, 2, 4, 8, 16)
    blocks_per_level: int = 2
    norm_groups: int = 8
    dropout: float = 0.0
    stem_stride: int = 1
    mask_channels: int = 1
    dtype: Any = jnp.float32

    @property
    def widths(self) -> list[int]:
        """The channels of each level."""
        return [multiplier * self.base_channels for multiplier in self.channel_multipliers]

    def shared(self, **fields: Any) -> dict[str, Any]:
        """The values of these fields, with `fields` in their place, for the parts of a network."""
        own = {field.name for field in dataclasses.fields(Levels)} - {"parent", "name"}
        return {name: getattr(self, name) for name in own} | fields


class PlainUNet(Levels):
    """The logits of an image's mask in one pass: an encoder-decoder with skip connections (Ronneberger et al. 2015).

    A block is 3 x 3 convolution, normalisation, SiLU. Down: the maximum over 2 x 2 pixels; up: a transposed 2 x 2
    convolution. Group normalisation stands where U-Nets usually have batch normalisation: there are no statistics of a
    batch, so training and inference compute the same and an answer does not depend on the rest of its batch. Height and
    width have to be multiples of `size_multiple`; the parameters do not depend on them. The fields are those of
    `Levels`.
    """

    def __call__(self, image: jax.Array, *, train: bool = False) -> jax.Array:
        """[B, H, W, 3] in [-1, 1] -> float32 logits [B, H, W, C], C = `mask_channels`.

        Raises:
          ValueError: H or W is not a multiple of `size_multiple`.
        """
        return self.levels(image, train=train)[1]

    @nn.compact
    def levels(self, image: jax.Array, *, train: bool = False) -> tuple[list[jax.Array], jax.Array]:
        """The features of each level on the way up, the finest first, and the logits; else as the network itself.

        Level l has base_channels channel_multipliers[l] channels and a pixel for stem_stride 2^l pixels of the image.
        """
        self.check_size(image)

        def blocks(name: str, features: int, x: jax.Array) -> jax.Array:
            for index in range(self.blocks_per_level):
                x = Conv(features, dtype=self.dtype, name=f"{name}_conv_{index}")(x)
                x = Norm(self.norm_groups, silu=True, name=f"{name}_norm_{index}")(x)
            return x

        widths = self.widths
        x = space_to_depth(image.astype(self.dtype), self.stem_stride)
        skips = []
        for level, features in enumerate(widths):
            if level:
                x = max_pool(x)
            x = blocks(f"down_{level}", features, x)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            skips.append(x)
        levels = [skips.pop()]
        for level, features in reversed(list(enumerate(widths[:-1]))):
            # A transposed convolution of 2 x 2 pixels in steps of 2: each pixel becomes four, none of which overlap.
            x = Conv(4 * features, kernel_size=1, dtype=self.dtype, name=f"up_{level}_upsample")(x)
            x = join_channels(depth_to_space(x, 2), skips.pop())
            x = blocks(f"up_{level}", features, x)
            levels.append(x)
        assert not skips
        x = Conv(self.mask_channels * self.stem_stride**2, kernel_size=1, dtype=self.dtype, name="conv_out")(x)
        return levels[::-1], depth_to_space(x, self.stem_stride).astype(jnp.float32)


def max_pool(x: jax.Array) -> jax.Array:
    """[batch, H, W, C] -> [batch, H/2, W/2, C], the maximum of every 2 x 2 pixels."""
    # Not flax.linen.max_pool: the gradient of its window reduction is a scatter, several times slower on a CPU.
    batch, height, width, channels = x.shape
    return jnp.max(x.reshape(batch, height // 2, 2, width // 2, 2, channels), axis=(2, 4))


SMALL = {"base_channels": 16, "channel_multipliers": (1, 2, 3, 4, 6), "stem_stride": 2}
"""For CPUs, with the levels and widths of the small denoisers."""

MODELS.register("unet")(
    ModelSpec(PlainUNet, process=DirectProcess, presets={"small": SMALL}, ranges=FIELDS, check=check_levels)
)

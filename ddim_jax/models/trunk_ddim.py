"""A denoiser that encodes the picture once: a trunk that sees it alone, and a thin head for each denoising step.

N steps of M samples cost one trunk (one for each mirror image) and N M heads, where the other denoisers are evaluated
whole N M times.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ddim_jax.diffusion import Encoded
from ddim_jax.models.layers import Conv, Norm, depth_to_space, light_groups, space_to_depth, timestep_embedding
from ddim_jax.models.plain_unet import SMALL, max_pool
from ddim_jax.models.spec import SIZES, ModelSpec
from ddim_jax.registry import MODELS
from ddim_jax.runtime.errors import ConfigError


class _Sized(nn.Module):
    """The fields of the whole network and of its two parts, and what both are built of."""

    light: bool = True
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

    def conv(self, name: str, x: jax.Array, features: int, *, shift: jax.Array | None = None, **options) -> jax.Array:
        """A convolution, 3 x 3 unless told otherwise; that is grouped if light and as wide as its input."""
        grouped = self.light and x.shape[-1] == features and options.get("kernel_size", 3) > 1
        groups = light_groups(features, features) if grouped else 1
        return Conv(features, groups=groups, dtype=self.dtype, name=f"{name}_conv", **options)(x, shift)

    def norm(self, name: str, x: jax.Array) -> jax.Array:
        """Group normalisation and SiLU."""
        return Norm(self.norm_groups, silu=True, name=f"{name}_norm")(x)

    def pixels(self, x: jax.Array) -> jax.Array:
        """The features of the first level as channels of the mask, float32 [B, H, W, C]."""
        x = self.conv("out", x, self.mask_channels * self.stem_stride**2, kernel_size=1)
        return depth_to_space(x, self.stem_stride).astype(jnp.float32)


class Trunk(_Sized):
    """A U-Net on the picture alone, with residual blocks and more of them on the way down than on the way up."""

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> Encoded:
        """float32 [B, H, W, 3] in [-1, 1] -> the features of its first two levels, and logits [B, H, W, C]."""
        x = space_to_depth(image.astype(self.dtype), self.stem_stride)
        skips = []
        for level, features in enumerate(self.widths):
            if level:
                x = max_pool(x)
            for index in range(self.blocks_per_level):
                y = self.norm(f"down_{level}_{index}", self.conv(f"down_{level}_{index}", x, features))
                x = x + y if index else y
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            skips.append(x)
        levels = [skips.pop()]
        for level, features in reversed(list(enumerate(self.widths[:-1]))):
            # A transposed convolution of 2 x 2 pixels in steps of 2: each pixel becomes four, none of which overlap.
            x = depth_to_space(self.conv(f"up_{level}_upsample", x, 4 * features, kernel_size=1), 2)
            x = self.norm(f"up_{level}", self.conv(f"up_{level}", jnp.concatenate([x, skips.pop()], -1), features))
            levels.append(x)
        return Encoded((levels[-1], levels[-2]), self.pixels(x))


class Head(_Sized):
    """The work of each timestep: x_t is added to the features of the trunk, and convolutions are shifted by t."""

    @nn.compact
    def __call__(self, noisy_mask: jax.Array, encoded: Encoded, t: jax.Array) -> jax.Array:
        """[B, H, W, C], what the trunk made, int [B] -> float32 [B, H, W, C]."""
        fine, coarse = encoded.features
        time = timestep_embedding(t, self.base_channels)
        time = nn.silu(nn.Dense(4 * self.base_channels, dtype=self.dtype, name="temb_dense")(time))

        def block(name: str, x: jax.Array, features: int) -> jax.Array:
            shift = nn.Dense(features, dtype=self.dtype, name=f"{name}_temb")(time)
            return self.norm(name, self.conv(name, x, features, shift=shift))

        first, second = self.widths[:2]
        x = self.conv("in", space_to_depth(noisy_mask.astype(self.dtype), self.stem_stride), first, kernel_size=1)
        x = skip = block("fine_0", self.norm("in", fine + x), first)
        x = self.conv("down", x, second, strides=2)
        x = block("coarse", self.norm("down", coarse + x), second)
        x = depth_to_space(self.conv("up", x, 4 * first, kernel_size=1), 2)
        x = block("fine_1", x + skip, first)
        logits = space_to_depth(encoded.logits.astype(self.dtype), self.stem_stride)
        return self.pixels(jnp.concatenate([x, logits], axis=-1))


class TrunkDDIM(_Sized):
    """An estimate of x_0, the noise or v from (x_t, picture, t), with the picture's part of the work apart.

    The trunk's own logits are trained beside the head's answer (`ddim_jax.diffusion.DiffusionProcess.losses`), which
    they are part of. A block is 3 x 3 convolution, normalisation, SiLU.

    `model.apply(variables, picture, method="encode")` gives the `Encoded` that may stand in the place of the picture.
    Height and width have to be multiples of `size_multiple`; the parameters do not depend on them.

    Attributes:
      light: grouped 3 x 3 convolutions where a block has as many channels as it is given, the paper's rule.
      base_channels: channels at the first level; the time embedding has four times as many.
      channel_multipliers: of base_channels, one for each level, two or more; the resolution halves from level to level.
      blocks_per_level: blocks at a level on the way down; there is one on the way up.
      norm_groups: groups of the group normalisation.
      dropout: rate after every level of the trunk's way down while training.
      stem_stride: side of the patches the stem folds into channels (space to depth), 1 for none.
      mask_channels: of the noisy mask and of what is estimated (`ddim_jax.labels.Labels.channels`).
      dtype: of the arithmetic ("float32" or "bfloat16"); parameters and normalisation are float32.
    """

    @property
    def size_multiple(self) -> int:
        """Height and width have to be multiples of this many pixels."""
        return self.stem_stride * 2 ** (len(self.channel_multipliers) - 1)

    def setup(self):
        given = {name: getattr(self, name) for name in _FIELDS}
        self.trunk, self.head = Trunk(**given), Head(**given)

    def __call__(
        self, noisy_mask: jax.Array, image: jax.Array | Encoded, t: jax.Array, *, train: bool = False
    ) -> jax.Array:
        """[B, H, W, C], [B, H, W, 3] in [-1, 1] or what `encode` made of it, int [B] -> float32 [B, H, W, C].

        Raises:
          ValueError: H or W is not a multiple of `size_multiple`.
        """
        return self.head(noisy_mask, image if isinstance(image, Encoded) else self.encode(image, train=train), t)

    def encode(self, image: jax.Array, *, train: bool = False) -> Encoded:
        """Encodes pictures [B, H, W, 3] in [-1, 1] for the head.

        Raises:
          ValueError: H or W is not a multiple of `size_multiple`.
        """
        height, width = image.shape[1:3]
        if height % self.size_multiple or width % self.size_multiple:
            raise ValueError(f"size {height} x {width}: both have to be multiples of {self.size_multiple}")
        return self.trunk(image, train)


_FIELDS = [field.name for field in dataclasses.fields(_Sized) if field.name not in ("parent", "name")]


def _check(model: TrunkDDIM) -> None:
    if len(model.channel_multipliers) < 2:
        raise ConfigError(
            f"model.channel_multipliers is {list(model.channel_multipliers)}; expected two levels or more, since the "
            "head works at the first two"
        )


MODELS.register("trunk_ddim")(ModelSpec(TrunkDDIM, presets={"small": SMALL}, ranges=SIZES, check=_check))

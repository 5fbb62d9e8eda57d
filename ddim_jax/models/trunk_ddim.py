"""A denoiser that encodes the image once: a trunk that sees it alone, and a thin head for each denoising step.

N steps of M samples cost one trunk (one for each mirror image) and N M heads, where the other denoisers are evaluated
whole N M times.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ddim_jax.diffusion import Encoded
from ddim_jax.fields import Field
from ddim_jax.models.layers import Conv, Norm, depth_to_space, light_groups, space_to_depth, timestep_embedding
from ddim_jax.models.levels import FIELDS, check_levels
from ddim_jax.models.plain_unet import SMALL, Levels, PlainUNet
from ddim_jax.models.spec import ModelSpec
from ddim_jax.registry import MODELS
from ddim_jax.runtime.errors import ConfigError


class Head(Levels):
    """The work of each timestep, at the second level: x_t is added to the trunk's features, t shifts convolutions.

    Its 3 x 3 convolutions are grouped by the paper's rule if the head is `light`.
    """

    light: bool = True

    @nn.compact
    def __call__(self, noisy_mask: jax.Array, encoded: Encoded, t: jax.Array) -> jax.Array:
        """[B, H, W, C], what the trunk made, int [B] -> float32 [B, H, W, C]."""
        fine, coarse = encoded.features
        first, second = self.widths[:2]
        time = timestep_embedding(t, self.base_channels)
        time = nn.silu(nn.Dense(4 * self.base_channels, dtype=self.dtype, name="temb_dense")(time))

        def conv(name: str, x: jax.Array, features: int, shift: jax.Array | None = None, **options) -> jax.Array:
            return Conv(features, dtype=self.dtype, name=f"{name}_conv", **options)(x, shift)

        def norm(name: str, x: jax.Array) -> jax.Array:
            return Norm(self.norm_groups, silu=True, name=f"{name}_norm")(x)

        x = space_to_depth(noisy_mask.astype(self.dtype), 2 * self.stem_stride)
        x = norm("in", coarse + conv("in", x, second, kernel_size=1))
        for index in range(self.blocks_per_level):
            name, groups = f"block_{index}", light_groups(second, second) if self.light else 1
            shift = nn.Dense(second, dtype=self.dtype, name=f"{name}_temb")(time)
            x = norm(name, conv(name, x, second, shift, groups=groups))
        x = norm("up", fine + depth_to_space(conv("up", x, 4 * first, kernel_size=1), 2))
        logits = space_to_depth(encoded.logits.astype(self.dtype), self.stem_stride)
        x = conv("out", jnp.concatenate([x, logits], axis=-1), self.mask_channels * self.stem_stride**2, kernel_size=1)
        return depth_to_space(x, self.stem_stride).astype(jnp.float32)


class TrunkDDIM(Levels):
    """An estimate of x_0, the noise or v from (x_t, image, t), with the image's part of the work apart.

    The trunk is a whole `PlainUNet`, whose features of the first two levels and logits the head takes. The logits are
    trained beside the head's answer (`ddim_jax.diffusion.DiffusionProcess.losses`), which they are part of.

    `model.apply(variables, picture, method="encode")` gives the `Encoded` that may stand in the place of the image.
    Height and width have to be multiples of `size_multiple`; the parameters do not depend on them.

    Attributes:
      light: whether convolutions of the head are grouped (`Head`). The others are those of `Levels`, two levels or
        more; mask_channels are those of the noisy mask too, and the time embedding has 4 base_channels.
    """

    light: bool = True

    def setup(self):
        self.trunk = PlainUNet(**self.shared())
        self.head = Head(**self.shared(), light=self.light)

    def __call__(
        self, noisy_mask: jax.Array, image: jax.Array | Encoded, t: jax.Array, *, train: bool = False
    ) -> jax.Array:
        """[B, H, W, C], [B, H, W, 3] in [-1, 1] or what `encode` made of it, int [B] -> float32 [B, H, W, C].

        Raises:
          ValueError: H or W is not a multiple of `size_multiple`.
        """
        return self.head(noisy_mask, image if isinstance(image, Encoded) else self.encode(image, train=train), t)

    def encode(self, image: jax.Array, *, train: bool = False) -> Encoded:
        """Encodes images [B, H, W, 3] in [-1, 1] for the head.

        Raises:
          ValueError: H or W is not a multiple of `size_multiple`.
        """
        levels, logits = self.trunk.levels(image, train=train)
        return Encoded(tuple(levels[:2]), logits)


def _check(model: TrunkDDIM) -> None:
    check_levels(model)
    if len(model.channel_multipliers) < 2:
        raise ConfigError(
            f"model.overrides.channel_multipliers is {list(model.channel_multipliers)}; expected two levels or more, "
            "since the head works at the first two"
        )


OWN = {
    "light": Field(bool, help="grouped 3 x 3 convolutions in the head, by the paper's rule; false: ordinary ones"),
}

MODELS.register("trunk_ddim")(
    ModelSpec(TrunkDDIM, presets={"small": SMALL}, ranges=FIELDS | OWN, check=_check, encodes=True)
)

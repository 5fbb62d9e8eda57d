"""A U-Net whose logits are a Gaussian with correlated pixels, so that it draws whole masks without diffusion."""

import flax.linen as nn
import jax

from ddim_jax.diffusion.stochastic import StochasticProcess
from ddim_jax.fields import Field
from ddim_jax.models.levels import FIELDS, check_levels
from ddim_jax.models.plain_unet import SMALL, Levels, PlainUNet
from ddim_jax.models.spec import ModelSpec
from ddim_jax.registry import MODELS


class StochasticUNet(Levels):
    """A stochastic segmentation network (Monteiro et al. 2020, arXiv 2006.06015) on the trunk of `PlainUNet`.

    Attributes:
      rank: R, the number of factors that the pixels have in common. The others are those of `Levels`.
    """

    rank: int = 10

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool = False) -> jax.Array:
        """[B, H, W, 3] in [-1, 1] -> float32 [B, H, W, C (2 + R)], as `StochasticProcess` takes it.

        Raises:
          ValueError: H or W is not a multiple of `size_multiple`.
        """
        channels = self.mask_channels * (2 + self.rank)
        return PlainUNet(**self.shared(mask_channels=channels), name="trunk")(image, train=train)


MODELS.register("stochastic_unet")(
    ModelSpec(
        StochasticUNet,
        process=StochasticProcess,
        # Samples differ by their draws; mirrored images would only blur what they disagree about.
        defaults={"sample": {"samples": 16, "flips": False}},
        presets={"small": SMALL},
        ranges=FIELDS
        | {
            "rank": Field(
                int, help="rank of the covariance of the logits: factors shared by all pixels", low=1, high=64
            )
        },
        check=check_levels,
    )
)

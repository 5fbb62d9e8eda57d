"""Cross-entropy and soft Dice, the loss of segmentation networks."""

from ddim_jax.diffusion.losses import cross_entropy_dice
from ddim_jax.registry import LOSSES

LOSSES.register("bce_dice")(cross_entropy_dice)

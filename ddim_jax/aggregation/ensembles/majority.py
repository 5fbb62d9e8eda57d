"""The vote of the masks that the protocol makes of each sample."""

import numpy as np

from ddim_jax.aggregation.ensemble import of_masks
from ddim_jax.registry import register


@register.ensemble("majority")
@of_masks
def majority(masks: np.ndarray) -> np.ndarray:
    """The fraction of the masks that hold the pixel, cut at 0.5; the protocol makes a mask of each sample by itself."""
    return masks.mean(axis=0, dtype=float)

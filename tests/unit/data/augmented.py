"""A pair to be augmented, compiled operations, and the augmentations that tests share."""

import jax
import numpy as np
from scipy import ndimage

from ddim_jax.data import Augmentation, augmentation, image_ops

augment = jax.jit(augmentation.augment, static_argnames="how")
move = jax.jit(image_ops.move)
recolour = jax.jit(image_ops.recolour)
PAPER = Augmentation(rotation_degrees=15.0, flips=True)
STRONG = Augmentation.from_config(augmentation.AUGMENTATIONS["strong"] | {"flips": True, "transforms": [], "crop": 0})
IN_COLOUR = ("contrast", "brightness", "saturation", "tint", "gamma", "blur")


def pair(height, width, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.uniform(-1, 1, (height, width, 3)).astype(np.float32)
    mask = np.where(ndimage.gaussian_filter(rng.normal(size=(height, width)), 2) > 0, 1, -1).astype(np.float32)
    return image, mask[..., None]

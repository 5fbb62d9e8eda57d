"""Inputs of a denoiser."""

import numpy as np


def inputs(height=8, width=12):
    """Two of each: noisy masks, images in [-1, 1] and timesteps."""
    rng = np.random.default_rng(0)
    noisy_mask = rng.normal(size=(2, height, width, 1)).astype(np.float32)
    image = rng.uniform(-1, 1, (2, height, width, 3)).astype(np.float32)
    return noisy_mask, image, np.array([3, 700], np.int32)

"""The mask as an 8-bit grey PNG: 0 and 255."""

import numpy as np
from PIL import Image

from ddim_jax.registry import WRITERS


@WRITERS.register("mask")
class Mask:
    suffix = ".png"

    def write(self, path, result, image, source, context):
        Image.fromarray(result.mask * np.uint8(255)).save(path, format="PNG")

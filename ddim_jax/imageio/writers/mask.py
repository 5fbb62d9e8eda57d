"""The mask as an 8-bit PNG: grey, 0 and 255; of several classes their numbers, with a palette.

Where classes overlap, bit k - 1 of a number is class k.
"""

import numpy as np
from PIL import Image

from ddim_jax.imageio.class_colours import palette
from ddim_jax.registry import WRITERS


@WRITERS.register("mask")
class Mask:
    suffix = ".png"
    title = "Mask"

    def write(self, path, result, image, source, context):
        if context.labels.several:
            picture = Image.fromarray(result.mask)
            picture.putpalette(palette(context.labels).tobytes())
        else:
            picture = Image.fromarray(result.mask * np.uint8(255))
        picture.save(path, format="PNG")

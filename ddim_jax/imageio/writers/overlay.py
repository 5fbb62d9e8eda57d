"""An image to check a mask with, as a PNG: its outline drawn on the image, of several classes each in its colour."""

import numpy as np
from PIL import Image

from ddim_jax.imageio.bands import bands
from ddim_jax.imageio.class_colours import class_colour
from ddim_jax.labels import Labels
from ddim_jax.registry import WRITERS

_COLOUR = np.array([0, 255, 170], np.float32)  # stands out on grey X-rays, on skin and on mucosa alike
_TINT = 0.12  # enough to tell inside from outside, little enough to judge the tissue


@WRITERS.register("overlay")
class Overlay:
    suffix = ".png"
    title = "Overlay"

    def write(self, path, result, image, source, context):
        Image.fromarray(draw_overlay(image, result.mask, context.labels)).save(path, format="PNG")


def draw_overlay(image: np.ndarray, mask: np.ndarray, labels: Labels = Labels()) -> np.ndarray:
    """Draws the mask's outline on the image and tints its inside.

    Args:
      image: uint8 [H, W, 3].
      mask: uint8 [H, W] as `ddim_jax.labels` has it.
      labels: the classes.

    Returns:
      uint8 [H, W, 3]; pixels outside the mask are those of the image. The outline lies inside the mask and is 1 pixel
      wide, wider in large images (1/256 of the shorter side).
    """
    from scipy import ndimage  # not at the head: few need it, and it takes long to import

    width = max(1, round(min(mask.shape) / 256))
    drawn = []
    for number in range(1, labels.count + 1):
        inside = labels.of_class(mask, number)
        colour = np.array(class_colour(number), np.float32) if labels.several else _COLOUR
        # The outside of the image counts as mask: where it cuts a mask off there is no border to draw.
        drawn.append((colour, inside, inside & ~ndimage.binary_erosion(inside, iterations=width, border_value=1)))
    result = np.empty_like(image)
    for rows in bands(*mask.shape):
        part = image[rows].astype(np.float32)
        for colour, inside, outline in drawn:
            part[inside[rows]] = (1.0 - _TINT) * part[inside[rows]] + _TINT * colour
            part[outline[rows]] = colour
        result[rows] = np.round(part)
    return result

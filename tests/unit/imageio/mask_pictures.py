"""A disk as a mask, and readers of arrays as mask images."""

import io

import numpy as np
from PIL import Image

from ddim_jax.imageio.masks import mask_of_picture


def disk(size, centre, radius):
    rows, columns = np.mgrid[:size, :size]
    return ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2).astype(np.uint8)


def read(array_or_picture, lossy=False):
    picture = array_or_picture if isinstance(array_or_picture, Image.Image) else Image.fromarray(array_or_picture)
    return mask_of_picture(picture, lossy=lossy, name="m.png")


def as_jpeg(picture, quality):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    decoded = Image.open(buffer)
    decoded.load()
    return decoded


TRUTH = disk(64, (30, 34), 17)

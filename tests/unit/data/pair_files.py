"""Small pairs of images and masks, in memory and in files, for the tests of the data sets."""

import numpy as np
from PIL import Image

from ddim_jax.data import Example


def picture(number, shape=(12, 10)):
    """An image that says which one it is: its first pixel is the number."""
    image = np.random.default_rng(number).integers(0, 256, (*shape, 3), np.uint8)
    image[0, 0] = number
    return image


def mask(number, shape=(12, 10)):
    values = np.zeros(shape, np.uint8)
    values[: 1 + number % shape[0]] = 255
    return values


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def save_pair(image_path, mask_path, number=0):
    save(image_path, picture(number))
    save(mask_path, mask(number))


def write_splits(root, **names):
    lines = [f"{stem},{split}\n" for split, stems in names.items() for stem in stems]
    (root / "splits.csv").write_text("stem,split\n" + "".join(lines))


def pair_of_places(name="x", height=40, width=60, inside=np.s_[:2, :2], level=100):
    """Every pixel tells its place; the structure is the part `inside`."""
    image = np.full((height, width, 3), level, np.uint8)
    image[..., 0], image[..., 1] = np.arange(height)[:, None], np.arange(width)
    mask = np.zeros((height, width), np.uint8)
    mask[inside] = 1
    return Example(name, image, mask)

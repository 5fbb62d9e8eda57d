"""Small image and mask files for the tests of the data sets."""

import numpy as np
from PIL import Image


def picture(number, shape=(12, 10)):
    """A picture that says which one it is: its first pixel is the number."""
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

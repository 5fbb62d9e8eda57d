"""Valid images and masks, made on the spot: what is damaged to see how it is refused."""

import io

import numpy as np
from PIL import Image

SIZE = 24


def pixels(seed: int = 0, size: int = SIZE) -> np.ndarray:
    """uint8 [size, size, 3] with smooth parts and noise."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, size)[:, None, None] + rng.integers(0, 40, (size, size, 3))
    return ramp.astype(np.uint8)


def mask_pixels(size: int = SIZE) -> np.ndarray:
    """uint8 [size, size]: a disc of 255 on 0."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.where(y**2 + x**2 < (size / 3) ** 2, 255, 0).astype(np.uint8)


def encoded(picture: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    """The bytes of an image file of a kind (PNG, JPEG, BMP, TIFF, GIF)."""
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()

"""Corruptions of images in five severities, as ImageNet-C defines them (Hendrycks and Dietterich, ICLR 2019).

| name | what is done | severity 1 | 2 | 3 | 4 | 5 |
| --- | --- | --- | --- | --- | --- | --- |
| blur | Gaussian of that standard deviation, in units (their gaussian_blur) | 1 | 2 | 3 | 4 | 6 |
| low_resolution | averaged to that many pixels along the shorter side, and back (pixelate) | 134 | 112 | 89 | 67 | 56 |
| noise | Gaussian of that standard deviation, of 1 (gaussian_noise) | .08 | .12 | .18 | .26 | .38 |
| jpeg | stored with that quality (jpeg_compression) | 25 | 18 | 15 | 10 | 7 |
| brightness | is added to the value of HSV, of 1 (brightness) | .1 | .2 | .3 | .4 | .5 |
| contrast | factor of the distance from the mean of the channel (contrast) | .4 | .3 | .2 | .1 | .05 |

Theirs are of images of 224 x 224. These here have any size, so a unit is 1/224 of the shorter side: the blur and the
grain of the noise grow with the image, and the same severity hides the same part of it. An image of fewer than 224
pixels has the grain of its pixels, and none gets a resolution above its own.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

SEVERITIES = (1, 2, 3, 4, 5)
MIDDLE = 3
_SIDE = 224


def corrupt(image: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    """One image corrupted.

    Args:
      image: uint8 [H, W, 3].
      name: a key of `CORRUPTIONS`.
      severity: 1 to 5.
      seed: of the noise, which is the same pattern at every severity.

    Returns:
      uint8 [H, W, 3].
    """
    make, values = CORRUPTIONS[name]
    changed = make(image.astype(np.float64) / 255.0, values[severity - 1], seed)
    return (changed.clip(0.0, 1.0) * 255.0).round().astype(np.uint8)


def _unit(image: np.ndarray) -> float:
    return min(image.shape[:2]) / _SIDE


def _blur(image: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    width = sigma * _unit(image)
    return ndimage.gaussian_filter(image, (width, width, 0), mode="nearest")


def _low_resolution(image: np.ndarray, side: float, seed: int) -> np.ndarray:
    share = min(1.0, side / min(image.shape[:2]))
    small = [max(1, round(length * share)) for length in image.shape[:2]]
    return _resized(_resized(image, small), image.shape[:2])


def _noise(image: np.ndarray, deviation: float, seed: int) -> np.ndarray:
    grains = [max(1, round(length / max(1.0, _unit(image)))) for length in image.shape[:2]]
    grain = np.random.default_rng(seed).normal(size=(*grains, 3))
    rows, columns = (np.arange(n) * few // n for n, few in zip(image.shape[:2], grains, strict=True))
    return image + deviation * grain[rows][:, columns]


def _jpeg(image: np.ndarray, quality: int, seed: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray((image * 255.0).round().astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)) / 255.0


def _brightness(image: np.ndarray, added: float, seed: int) -> np.ndarray:
    # The value of HSV is the largest channel; with hue and saturation kept, all three grow by one factor.
    value = image.max(axis=-1, keepdims=True)
    brighter = np.minimum(value + added, 1.0)
    return np.where(value > 0, image * brighter / np.where(value > 0, value, 1.0), brighter)


def _contrast(image: np.ndarray, factor: float, seed: int) -> np.ndarray:
    mean = image.mean(axis=(0, 1), keepdims=True)
    return mean + factor * (image - mean)


def _resized(image: np.ndarray, shape: tuple[int, int] | list[int]) -> np.ndarray:
    channels = [Image.fromarray(one.astype(np.float32)) for one in np.moveaxis(image, -1, 0)]
    return np.stack([np.asarray(one.resize(shape[::-1], Image.Resampling.BOX)) for one in channels], axis=-1)


CORRUPTIONS: dict[str, tuple[Callable[[np.ndarray, float, int], np.ndarray], tuple[float, ...]]] = {
    "blur": (_blur, (1, 2, 3, 4, 6)),
    "low_resolution": (_low_resolution, (134, 112, 89, 67, 56)),
    "noise": (_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "jpeg": (_jpeg, (25, 18, 15, 10, 7)),
    "brightness": (_brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (_contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
}

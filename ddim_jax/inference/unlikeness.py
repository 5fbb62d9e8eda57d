"""Unlikeness: the distance of an image from those that a checkpoint was calibrated on; beyond a limit it is flagged as
out of distribution.

An image is described by 27 numbers of its look, and its distance is that of Mahalanobis (Proceedings of the National
Institute of Sciences of India, 1936) from the mean of the calibration's descriptors, their correlations shrunk towards
none (Ledoit and Wolf, J. Multivariate Analysis, 2004, with a fixed share), so that few images suffice.
The limit is the conformal quantile of the distances of those very images, each from the others, which are a little
longer than that of a new image from all of them: of images drawn alike at most about one in twenty is beyond it.
Images of a group (of a patient, a folder, a volume) resemble each other, so that all of it is left out, and the
quantile is that of groups: at most about one in twenty of the images of further groups is beyond the limit.

It sees how light and dark lie, contrast, colour, sharpness and noise. It does not see what the image shows: one that is
within the limit can still be of another kind, and one beyond it can be segmented well.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ddim_jax.metrics import Bounds, conformal_quantile, images_needed
from ddim_jax.preprocessing import as_rgb, resize_image
from ddim_jax.runtime.values import quantity

WITHIN = 0.95
"""The share of images like those of the calibration that is within the limit."""
IMAGES_NEEDED = images_needed(WITHIN)
"""The fewest images, or groups of them, that a reference is made of."""
UNLIKE = "This image is unlike the images that the model was calibrated on: intervals do not hold for it."
_SIDE, _BLOCKS = 64, 3
_FINE_SIDE = 128
_LENGTH = 2 * _BLOCKS**2 + 9
_SHRINKAGE = 0.3
_SMALLEST_SCALE = 0.02  # added to each deviation: what never differed in the calibration may differ a little
_SMALLEST_LIMIT = 1e-6  # of images that are all the same


def describe_image(image: np.ndarray) -> np.ndarray:
    """Describes the look of an image.

    Args:
      image: uint8 [H, W], [H, W, 1] or [H, W, 3] (RGB).

    Returns:
      float64 [27], of values in [0, 1]. At 64 x 64 pixels: the mean grey of 3 x 3 blocks and the logs of its standard
      deviation there, the means of R - G and G - B and the logs of their deviations, the logs of the mean absolute
      steps across and down. At 128 x 128, where noise shows: the logs of the mean absolute steps of R - G and of G - B,
      and of the mean absolute second differences of grey.

    Raises:
      InputError: as `ddim_jax.preprocessing.as_rgb`.
    """
    values = resize_image(as_rgb(image), (_SIDE, _SIDE)).astype(np.float64) / 255
    grey, chroma = values.mean(axis=-1), -np.diff(values, axis=-1).reshape(-1, 2)
    side = _SIDE // _BLOCKS
    kept = grey[: side * _BLOCKS, : side * _BLOCKS].reshape(_BLOCKS, side, _BLOCKS, side)
    blocks = kept.transpose(0, 2, 1, 3).reshape(_BLOCKS**2, -1)
    steps = [np.abs(np.diff(grey, axis=axis)).mean() for axis in (1, 0)]
    return np.concatenate(
        [
            blocks.mean(axis=1),
            np.log(blocks.std(axis=1) + 0.01),
            chroma.mean(axis=0),
            np.log(chroma.std(axis=0) + 0.01),
            np.log(np.array(steps) + 0.003),
            np.log(_noise(image) + 0.003),
        ]
    )


def _noise(image: np.ndarray) -> np.ndarray:
    """The mean absolute steps of R - G and G - B, and the mean absolute second differences of grey: float64 [3]."""
    red, green, blue = np.moveaxis(resize_image(as_rgb(image), (_FINE_SIDE, _FINE_SIDE)).astype(np.int16), -1, 0)
    over = ((red - green, 1, 255), (green - blue, 1, 255), (red + green + blue, 2, 3 * 255))
    return np.array(
        [np.mean([np.abs(np.diff(one, order, axis)).mean() / white for axis in (0, 1)]) for one, order, white in over]
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """The images of a calibration, as far as another is compared with them.

    Attributes:
      mean: float64 [27], of their descriptors.
      whitening: float64 [27, 27]; the distance of a descriptor is the root mean square of `whitening @ (it - mean)`.
      limit: distances above it are flagged.
    """

    mean: np.ndarray
    whitening: np.ndarray
    limit: float

    def unlikeness(self, descriptor: np.ndarray) -> float:
        """The distance as a multiple of the limit, >= 0; above 1 the image is flagged."""
        return _distance(descriptor, self.mean, self.whitening) / self.limit

    def digest(self) -> str:
        """SHA-256 of all that an unlikeness depends on."""
        return hashlib.sha256(json.dumps(self.as_record()).encode()).hexdigest()

    def as_record(self) -> dict[str, Any]:
        """The reference as JSON has it."""
        return {"mean": self.mean.tolist(), "whitening": self.whitening.tolist(), "limit": self.limit}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Reference":
        """The reference that `as_record` described.

        Raises:
          ValueError, KeyError, TypeError: it is none.
        """
        mean, whitening = (np.array(record[name], np.float64) for name in ("mean", "whitening"))
        limit = float(record["limit"])
        if mean.shape != (_LENGTH,) or whitening.shape != 2 * mean.shape or not limit > 0:
            raise ValueError(f"mean {mean.shape}, whitening {whitening.shape}, limit {limit}")
        if not all(np.isfinite(values).all() for values in (mean, whitening, limit)):
            raise ValueError("a number is not finite")
        return cls(mean, whitening, limit)


def is_unlike(unlikeness: float | None) -> bool:
    """True if an image of this unlikeness (`Reference.unlikeness`; None: not judged) is flagged."""
    return unlikeness is not None and unlikeness > 1


def with_unlikeness(bounds: Bounds, unlikeness: float | None) -> Bounds:
    """The bounds with `unlike` as an image of this unlikeness has it."""
    return bounds._replace(unlike=None if unlikeness is None else is_unlike(unlikeness))


def fit_reference(descriptors: Sequence[np.ndarray], groups: Sequence[str] | None = None) -> Reference:
    """Makes the reference of a calibration.

    Args:
      descriptors: [27] of each image.
      groups: the names of their groups (patients, folders, volumes); None where each image is one by itself.

    Raises:
      ValueError: there are fewer images, or groups, than `IMAGES_NEEDED`.
    """
    count = len(descriptors)
    group = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(group)
    if len(sizes) < IMAGES_NEEDED:
        raise ValueError(too_few(count, len(sizes)))
    values = np.asarray(descriptors, np.float64)
    centre = values.mean(axis=0)
    centred = values - centre
    products = centred.T @ centred
    distances = np.empty(count)
    for number, size in enumerate(sizes):  # from those of other groups, whose sums are those of all without these
        own = centred[group == number]
        mean = -own.sum(axis=0) / (count - size)
        covariance = (products - own.T @ own) / (count - size) - np.outer(mean, mean)
        whitening = _whitening(covariance)
        distances[group == number] = [_distance(one, mean, whitening) for one in own]
    limit = max(conformal_quantile(distances, WITHIN, groups), _SMALLEST_LIMIT)
    return Reference(centre, _whitening(products / count), limit)


def too_few(images: int, groups: int) -> str:
    """Says in words that so many images, of so many groups, make no reference."""
    if images == groups:
        return f"{quantity(images, 'image')}; it takes {IMAGES_NEEDED} to judge if others are unlike them"
    return (
        f"{images} images of {quantity(groups, 'group')} (patients, folders, volumes); it takes {IMAGES_NEEDED} "
        "groups to judge if others are unlike them"
    )


def _whitening(covariance: np.ndarray) -> np.ndarray:
    """The matrix that takes a deviation to numbers about uncorrelated and of variance 1."""
    scale = np.sqrt(np.diag(covariance).clip(0)) + _SMALLEST_SCALE
    shrunk = (1 - _SHRINKAGE) * covariance / np.outer(scale, scale) + _SHRINKAGE * np.eye(len(scale))
    return np.linalg.inv(np.linalg.cholesky(shrunk)) / scale


def _distance(descriptor: np.ndarray, mean: np.ndarray, whitening: np.ndarray) -> float:
    return float(np.sqrt(np.mean((whitening @ (descriptor - mean)) ** 2)))

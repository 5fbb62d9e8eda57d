"""Images and masks made fit for the network, in training and inference alike: normalised, resized, mirrored."""

import hashlib
import os
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ddim_jax.imageio.bands import bands
from ddim_jax.imageio.constant import is_constant
from ddim_jax.labels import IGNORED, Labels
from ddim_jax.runtime.errors import InputError

ORIENTATIONS = 4  # of an image under left-right and top-bottom flips
_BUCKET = 64  # pixels; a smaller step would compile more programs, a larger one compute more padding


class Prepared(NamedTuple):
    """One image as the network takes it.

    Attributes:
      pixels: uint8 [h, w, 3], at the size the network works at.
      shape: the part of (h, w) that is the image; what lies below and to the right of it is padding.
      identity: `image_id` of the image before it was resized or padded.
      is_constant: True if that image has one value in all pixels, so that there is nothing to find.
    """

    pixels: np.ndarray
    shape: tuple[int, int]
    identity: np.uint32
    is_constant: bool = False


def prepare(image: Any, image_size: int | None, size_multiple: int) -> Prepared:
    """Makes one image fit for the network.

    Args:
      image: uint8 [H, W], [H, W, 1] or [H, W, 3] (RGB).
      image_size: the image is resized to this height and width; None: it keeps its size and is padded.
      size_multiple: what the network's sides have to be multiples of, for the padding.

    Raises:
      InputError: as `as_rgb`.
    """
    rgb = as_rgb(image)
    if image_size is None:
        padded = pad_to(rgb, bucket_shape(rgb.shape[:2], size_multiple))
        return Prepared(padded, rgb.shape[:2], image_id(rgb), is_constant(rgb))
    shape = (image_size, image_size)
    return Prepared(resize_image(rgb, shape), shape, image_id(rgb), is_constant(rgb))


def as_rgb(image: Any) -> np.ndarray:
    """Checks one image and repeats grey to three channels: uint8 [H, W, 3].

    Raises:
      InputError: another dtype or shape, or an empty image; both are named. A Pillow image of another mode than L and
        RGB: that of a palette has the indices for its numbers.
    """
    if isinstance(image, Image.Image) and image.mode not in ("L", "RGB"):
        # The numbers of such images are indices into colours, or have another meaning.
        raise InputError(
            f"image is a Pillow image of mode {image.mode!r}, expected L or RGB; read its file by "
            "ddim_jax.imageio.images.read_image, which knows 16 bits and palettes"
        )
    if isinstance(image, str | os.PathLike):
        raise InputError(
            f"image is the text or path {os.fspath(image)!r}; expected its pixels as an array. Read it "
            "by ddim_jax.imageio.images.read_image, or give it to ddim_jax.inference.segment_files, which writes files"
        )
    image = np.asarray(image)
    shape = list(image.shape)
    if image.dtype != np.uint8:
        raise InputError(
            f"image has dtype {image.dtype} and shape {shape}; expected uint8 with values 0 to 255 "
            "(scale other ranges to it first)"
        )
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        hint = "; give several images as a list" if image.ndim == 4 else ""
        raise InputError(f"image has shape {shape}; expected [H, W], [H, W, 1] or [H, W, 3] (RGB){hint}")
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def image_id(rgb: np.ndarray) -> np.uint32:
    """The first 32 bits of SHA-256 over the shape (three little-endian uint64) and the pixel bytes of an RGB image."""
    digest = hashlib.sha256(np.asarray(rgb.shape, "<u8").tobytes())
    digest.update(rgb.tobytes())
    return np.uint32(int.from_bytes(digest.digest()[:4], "big"))


def bucket_shape(shape: tuple[int, int], size_multiple: int) -> tuple[int, int]:
    """The shape at which the network works on an image of `shape` = (H, W) that is not resized.

    Each side is rounded up to a multiple of one step, the smallest multiple of `size_multiple` that is 64 pixels or
    more. So images of slightly different sizes share a shape, and with it a compiled program. The answer hangs on the
    image's own size alone, never on other images, because the padding takes part in the result.

    Args:
      shape: of the image, both sides >= 1.
      size_multiple: what the network's sides have to be multiples of, >= 1.
    """
    step = -(-_BUCKET // size_multiple) * size_multiple
    height, width = (-(-side // step) * step for side in shape)
    return height, width


def normalise(image: Any) -> Any:
    """uint8 pixels -> float32 in [-1, 1], of any shape, in NumPy or JAX: what every network is trained on."""
    return image.astype(np.float32) / 127.5 - 1.0


def normalise_mask(mask: Any, labels: Labels = Labels()) -> Any:
    """The x_0 of a decoded mask, in NumPy or JAX.

    Args:
      mask: uint8 [..., H, W] as `ddim_jax.labels` has it.
      labels: the classes.

    Returns:
      float32 [..., H, W, C] with C = `labels.channels`: +1 in the channel of a class where that class is, else -1; of
      exclusive classes the first channel is the background. 0 in all channels where the mask is ignored.
    """
    if not labels.several:
        inside = mask.astype(np.float32)[..., None]
    elif labels.multilabel:
        inside = ((mask[..., None] >> np.arange(labels.count, dtype=np.uint8)) & 1).astype(np.float32)
    else:
        inside = (mask[..., None] == np.arange(labels.channels, dtype=np.uint8)).astype(np.float32)
    x0 = 2.0 * inside - 1.0
    return x0 * (mask != IGNORED).astype(np.float32)[..., None] if labels.ignore else x0


def class_estimates(x0: Any, labels: Labels = Labels()) -> Any:
    """The estimate of each class from those of x_0, in NumPy or JAX: the way back from `normalise_mask`.

    Args:
      x0: float32 [..., H, W, C], about -1 outside and +1 inside, C = `labels.channels`.
      labels: the classes.

    Returns:
      float32 [..., H, W] for one class, else [..., H, W, K], class k at k - 1; about -1 outside and +1 inside. Of
      exclusive classes the channels, clipped and moved to [0, 1], are divided by their sum, so that what the classes
      leave to 1 is the probability of the background.
    """
    if not labels.several:
        return x0[..., 0]
    if labels.multilabel:
        return x0
    share = (x0.clip(-1.0, 1.0) + 1.0) / 2.0
    return 2.0 * share[..., 1:] / share.sum(axis=-1, keepdims=True).clip(1e-6) - 1.0


def resize_image(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resizes uint8 [H, W, 3] to `shape` (height, width): bilinear, antialiased where it shrinks."""
    return np.asarray(Image.fromarray(image).resize(shape[::-1], Image.Resampling.BILINEAR))


def resize_nearest(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resizes uint8 [H, W] to `shape` (height, width) by the nearest pixel, so that no new value appears."""
    return np.asarray(Image.fromarray(mask).resize(shape[::-1], Image.Resampling.NEAREST))


def resize_mask(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """`resize_nearest`, but a value above 0 never vanishes: one that no pixel is left of keeps the pixel at its centre.

    So a small finding stays a finding: what draws nothing there is not right. Where that pixel is the last one of
    another value, the nearest that is not takes its place; only with fewer pixels than values some vanish.
    """
    small = resize_nearest(mask, shape)
    before, after = Image.fromarray(mask).histogram(), Image.fromarray(small).histogram()
    lost = [value for value in range(1, 255) if before[value] and not after[value]]  # 255 is ignored
    if lost:
        small = small.copy()
    for value in lost:
        rows, columns = np.nonzero(mask == value)
        centre = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        place = rows[centre] * shape[0] // mask.shape[0], columns[centre] * shape[1] // mask.shape[1]
        left = Image.fromarray(small).histogram()
        last = [other for other in range(1, 255) if left[other] == 1]
        down, across = np.ogrid[: shape[0], : shape[1]]
        distance = (down - place[0]) ** 2 + (across - place[1]) ** 2 + np.where(np.isin(small, last), np.inf, 0.0)
        if np.isfinite(distance.min()):
            small.flat[distance.argmin()] = value
    return small


def resize_unit_map(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resizes a float32 map [H, W] or maps [H, W, K] in [0, 1] to `shape` (height, width), as `resize_image` resizes.

    Values are kept in [0, 1] although interpolation rounds; a map of that size already is returned as it is.
    """
    if values.shape[:2] == tuple(shape):
        return values
    if values.ndim == 3:
        return np.stack([resize_unit_map(one, shape) for one in np.moveaxis(values, -1, 0)], axis=-1)
    height, width = shape
    picture = Image.fromarray(np.asarray(values, np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    # In bands: Pillow gives an array as bytes, which takes twice its size.
    result = np.empty((height, width), np.float32)
    for rows in bands(height, width):
        np.clip(np.asarray(picture.crop((0, rows.start, width, rows.stop))), 0.0, 1.0, out=result[rows])
    return result


def mirrored(values: Any, orientation: int) -> Any:
    """[H, W, ...] as it is (0), mirrored left to right (1), top to bottom (2), both (3); twice is as it was."""
    rows, columns = (slice(None, None, -1 if turned else 1) for turned in divmod(orientation, 2))
    return values[rows, columns]


def pad_to(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Continues [H, W, C] below and to the right with its edge values up to `shape`; pixels keep their coordinates."""
    below, right = shape[0] - image.shape[0], shape[1] - image.shape[1]
    return np.pad(image, ((0, below), (0, right), (0, 0)), mode="edge")

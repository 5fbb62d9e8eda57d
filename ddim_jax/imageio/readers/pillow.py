"""PNG, JPEG, BMP and TIFF files, read by Pillow.

They are told by their content rather than by their name; no other decoder is ever tried, for Pillow has some that start
other programs. Colour profiles are not applied.
"""

import contextlib
import os
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ddim_jax.imageio.images import MAX_PIXELS, ReadOptions
from ddim_jax.imageio.masks import mask_of_picture, over_black
from ddim_jax.labels import Labels
from ddim_jax.registry import READERS
from ddim_jax.runtime.errors import DataError

_TIFF_PHOTOMETRIC = 262
# A camera's MPO file is a JPEG with previews behind it: its first frame is the picture. Pillow opens it as a JPEG.
_JPEG_FORMATS = ("JPEG", "MPO")
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "I", "F", "I;16", "I;16B", "I;16L")


@READERS.register("pillow")
class PillowReader:
    """See `ddim_jax.imageio.images.Reader`."""

    suffixes = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")

    @staticmethod
    def read_image(path: str | os.PathLike, options: ReadOptions = ReadOptions()) -> np.ndarray:
        """Reads a picture, upright as its EXIF orientation says.

        Grey is repeated to three channels; palettes and CMYK become RGB; what is transparent is laid over black. 16-bit
        grey is scaled by the smallest of 255, 1023, 4095, 16383 and 65535 (8, 10, 12, 14 and 16 bits) that holds the
        largest value of the picture, because scanners store 10 or 12 bits in 16: so a full-range file maps 65535 to
        255, a 12-bit one 4095 to 255, and no picture's contrast hangs on a single bright pixel beyond that choice.
        16-bit RGB keeps the upper 8 bits.

        Returns:
          uint8 [H, W, 3].

        Raises:
          DataError: the file is missing, empty, truncated, no picture, of several frames, of more than `MAX_PIXELS`, or
            holds numbers whose range is unknown (floating point, or integers outside 0..65535) or whose order is
            reversed (16-bit TIFF with white as 0). The message names the file.
        """
        picture, _ = _decode(path)
        return _to_rgb(picture, str(path))

    @staticmethod
    def read_mask(path: str | os.PathLike, labels: Labels = Labels()) -> np.ndarray:
        """Reads a mask by the rules of `ddim_jax.imageio.masks.mask_of_picture`, upright as its EXIF orientation says.

        Returns:
          uint8 [H, W], values {0, 1}.

        Raises:
          DataError: as `read_image`, or the mask has more than two well-separated levels. The message names the file.
        """
        picture, lossy = _decode(path)
        return mask_of_picture(picture, labels, lossy=lossy, name=str(path))

    @staticmethod
    def count_pixels(path: str | os.PathLike) -> int:
        """Height times width of a picture, from the header alone.

        Raises:
          DataError: as `read_image`, for what is wrong with the header.
        """
        with _errors_naming(path), _open(path) as picture:
            width, height = picture.size
        return width * height


@contextlib.contextmanager
def _errors_naming(path: str | os.PathLike) -> Iterator[None]:
    """Turns whatever opening or decoding a file raises into a DataError that names it."""
    try:
        yield
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not a picture this can read; expected PNG, JPEG, BMP or TIFF.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # a warning if asked to be an error
        raise DataError(f"{path}: too large to be decoded safely ({error}); cut or shrink it.") from error
    except MemoryError as error:
        raise DataError(f"{path}: there is not enough memory to decode it, or it is damaged.") from error
    except Exception as error:  # a damaged file makes the decoders raise anything, down to KeyError
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
        what = str(error) or type(error).__name__
        raise DataError(f"{path}: cannot be decoded, the file is truncated or damaged ({what}).") from error


@contextlib.contextmanager
def _open(path: str | os.PathLike) -> Iterator[Image.Image]:
    if os.path.getsize(path) == 0:
        raise DataError(f"{path}: the file is empty (0 bytes).")
    # Given a name, Pillow maps uncompressed files into memory and mixes up the sides of TIFF pictures stored turned.
    with open(path, "rb") as file, Image.open(file, formats=_FORMATS) as picture:
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise DataError(
                f"{path}: {width} x {height} pixels, expected at most {MAX_PIXELS} in all; cut or shrink it."
            )
        if width < 1 or height < 1:
            raise DataError(f"{path}: {width} x {height} pixels, there is nothing to see.")
        yield picture


def _decode(path: str | os.PathLike) -> tuple[Image.Image, bool]:
    """The one picture of a file, decoded and upright, and whether it came from a JPEG."""
    with _errors_naming(path), _open(path) as picture:
        lossy = picture.format in _JPEG_FORMATS
        frames = getattr(picture, "n_frames", 1)
        if frames > 1 and not lossy:
            raise DataError(f"{path}: holds {frames} frames, expected one; save the frame you mean as its own file.")
        if picture.mode not in _MODES:
            raise DataError(f"{path}: pixels of kind {picture.mode!r} are not supported; save it as grey or RGB.")
        _check_covered(picture, path)
        if picture.mode.startswith("I") and picture.format == "TIFF" and picture.tag_v2.get(_TIFF_PHOTOMETRIC) == 0:
            # Pillow turns 8 bits round and leaves 16 as they are; how many of them are used, the file does not say.
            raise DataError(f"{path}: 16-bit grey in which white is 0 (MinIsWhite); save it with black as 0.")
        picture.load()
        return ImageOps.exif_transpose(picture), lossy


def _check_covered(picture: Image.Image, path: str | os.PathLike) -> None:
    """Refuses a TIFF file with fewer strips than its size needs: Pillow would leave the rest of the picture black."""
    width, height = picture.size
    parts = [tile.extents or (0, 0, width, height) for tile in picture.tile]
    covered = sum((right - left) * (bottom - top) for left, top, right, bottom in parts)
    if parts and covered < width * height:
        raise DataError(f"{path}: is truncated or damaged, its parts cover {covered} of {width} x {height} pixels.")


def _to_rgb(picture: Image.Image, name: str) -> np.ndarray:
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        grey = _eight_bits(np.asarray(picture).astype(np.int64), name)
        return np.repeat(grey[..., None], 3, axis=-1)
    if picture.mode == "F":
        raise DataError(f"{name}: holds floating-point grey, whose range is unknown; save it as 8- or 16-bit grey.")
    if picture.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        return over_black(np.asarray(picture.convert("RGBA")))
    return np.array(picture.convert("RGB"))


def _eight_bits(values: np.ndarray, name: str) -> np.ndarray:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise DataError(f"{name}: grey values reach from {low} to {high}, expected 0 to 65535; save a window of them.")
    full = next(scale for scale in (255, 1023, 4095, 16383, 65535) if high <= scale)
    return np.round(values * (255 / full)).astype(np.uint8)

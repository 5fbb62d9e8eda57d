"""PNG, JPEG, BMP and TIFF files, read by Pillow.

They are told by their content rather than by their name; no other decoder is ever tried, for Pillow has some that start
other programs. Colour profiles are not applied.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ddim_jax.imageio import jpeg
from ddim_jax.imageio.images import AGAIN, MAX_PIXELS, Picture, ReadOptions, image_suffixes
from ddim_jax.imageio.masks import mask_of_picture
from ddim_jax.imageio.readers._conversion import DeepPixels, as_stored, convert, raw_mode
from ddim_jax.imageio.signatures import told_of
from ddim_jax.imageio.tiff_parts import check_parts, places
from ddim_jax.labels import Labels
from ddim_jax.registry import READERS
from ddim_jax.runtime.errors import DataError

_ORIENTATION, _COMPRESSION, _PHOTOMETRIC, _PLANAR, _TILE_SIDES = 274, 259, 262, 284, (322, 323)
_OLD_JPEG, _JPEG, _TABLES, _FAX = 6, 7, 347, (2, 3, 4)
# A camera's MPO file is a JPEG with previews behind it: its first frame is the image. Pillow opens it as a JPEG.
_JPEG_FORMATS = ("JPEG", "MPO")
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
_TIFF_KINDS = "one grey, palette, RGB or CMYK image of 1, 8 or 16 bits a channel"
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "I", "F", "I;16", "I;16B", "I;16L")
# Telling levels and colours of a mask apart takes up to 30 bytes a pixel where it is not 8-bit grey.
_MASK_MODES, _MASK_PIXELS = ("1", "L", "P"), 3 * 2**29 // 30
_NO_WINDOW = "window not used (images of 8 bits a channel are shown as they are)"
_SMALL_TILE = 2**24  # pixels; writers pad small images to a whole tile


@READERS.register("pillow")
class PillowReader:
    """See `ddim_jax.imageio.images.Reader`."""

    suffixes = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff")

    @staticmethod
    def read_image(path: str | os.PathLike, options: ReadOptions = ReadOptions()) -> Picture:
        """Reads an image, upright as its EXIF orientation says.

        Grey is repeated to three channels; palettes and CMYK become RGB; what is transparent is laid over black. Files
        with 16 bits a channel, grey or colour, are brought to 8 by the window of `options`, or else as
        `ddim_jax.imageio.depth` says; 8 bits stay as they are. Where white is stored as 0 (TIFF's MinIsWhite), the
        image is inverted.

        Raises:
          DataError: the file is missing, empty, truncated, damaged, no image or no file, of several frames, wholly
            transparent, of more than `MAX_PIXELS` (a tile of it counts too), or holds numbers whose range is unknown
            (floating point, or integers outside 0..65535). The message names the file.
        """
        with _errors_naming(path), _opened(path) as (file, picture):
            white_is_0 = _is_deep_white_0(picture)
            deep = DeepPixels.of(file, picture)
            orientation = picture.getexif().get(_ORIENTATION, 1)
            orientation = orientation if orientation in range(1, 9) else 1
            picture.load()
            # Pillow turns TIFF images itself.
            view = 1 if picture.format == "TIFF" else orientation
            width, height = picture.size if view < 5 else picture.size[::-1]
            pixels = np.empty((height, width, 3), np.uint8)
            stored = as_stored(pixels, view)
            if deep is None:
                convert(picture, stored, str(path))
                return Picture(pixels, None, () if options.window is None else (_NO_WINDOW,), orientation)
            depth = deep.convert(stored, str(path), options.window)
            if white_is_0:
                np.subtract(255, pixels, out=pixels)
            return Picture(pixels, (depth.low, depth.high), depth.notes, orientation)

    @staticmethod
    def read_mask(path: str | os.PathLike, labels: Labels = Labels()) -> np.ndarray:
        """Reads a mask by the rules of `ddim_jax.imageio.masks.mask_of_picture`, upright as its EXIF orientation says.

        Returns:
          uint8 [H, W], as `ddim_jax.labels` has it.

        Raises:
          DataError: as `read_image`, or the mask has more than two well-separated levels. The message names the file.
        """
        picture, lossy = _decode_mask(path)
        return mask_of_picture(picture, labels, lossy=lossy, name=str(path))

    @staticmethod
    def count_pixels(path: str | os.PathLike) -> int:
        """Height times width of an image, from the header alone.

        Raises:
          DataError: as `read_image`, for what is wrong with the header.
        """
        with _errors_naming(path), _open(path) as (_, picture):
            width, height = picture.size
        return width * height

    @staticmethod
    def orientation(path: str | os.PathLike) -> int:
        """The EXIF orientation of a file, 1 to 8; 1 (as stored) where it has none."""
        with _errors_naming(path), _open(path) as (_, picture):
            found = picture.getexif().get(_ORIENTATION, 1)
        return found if found in range(1, 9) else 1


@contextlib.contextmanager
def _errors_naming(path: str | os.PathLike) -> Iterator[None]:
    """Turns whatever opening or decoding a file raises into a DataError that names it."""
    try:
        yield
    except DataError:
        raise
    except UnidentifiedImageError as error:
        with open(path, "rb") as file:
            told = told_of(file.read(512))
        of_tiff = f" with {_TIFF_KINDS}; save it so, or, if it is one, {AGAIN}" if "TIFF" in told else ""
        expected, suffixes = f"expected PNG, JPEG, BMP or TIFF{of_tiff}", image_suffixes()
        if not of_tiff and not str(path).lower().endswith(suffixes):
            expected = f"expected a file ending in {', '.join(suffixes)}"
        raise DataError(f"{path}: not an image this can read{told}; {expected}.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # a warning if asked to be an error
        raise DataError(f"{path}: too large to be decoded safely ({error}); cut or shrink it.") from error
    except MemoryError as error:
        raise DataError(
            f"{path}: there is not enough memory to decode it. Free some, or, if it is a small image, {AGAIN}."
        ) from error
    except Exception as error:  # a damaged file makes the decoders raise anything, down to KeyError
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
        what = str(error) or type(error).__name__
        raise DataError(f"{path}: cannot be decoded, the file is truncated or damaged ({what}); {AGAIN}.") from error


@contextlib.contextmanager
def _open(path: str | os.PathLike) -> Iterator[tuple[BinaryIO, Image.Image]]:
    """The file and its image, of which the header is read."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):  # which opening it says better
        raise DataError(f"{path}: is no regular file (a pipe, a device or a socket); copy what it gives into a file.")
    if found.st_size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes).")
    # Given a name, Pillow maps uncompressed files into memory and mixes up the sides of TIFF images stored turned.
    with open(path, "rb") as file, Image.open(file, formats=_FORMATS) as picture:
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise DataError(
                f"{path}: {width} x {height} pixels, expected at most {MAX_PIXELS} in all; cut or shrink it."
            )
        if width < 1 or height < 1:
            raise DataError(f"{path}: {width} x {height} pixels, there is nothing to see.")
        yield file, picture


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[tuple[BinaryIO, Image.Image]]:
    """A file whose image can be decoded by `load`."""
    with _open(path) as (file, picture):
        if picture.format not in _JPEG_FORMATS:
            frames = getattr(picture, "n_frames", 1)
            if frames > 1:
                raise DataError(
                    f"{path}: holds {frames} frames, expected one; save the frame you mean as its own file."
                )
        if picture.mode not in _MODES:
            raise DataError(f"{path}: pixels of kind {picture.mode!r} are not supported; save it as grey or RGB.")
        if picture.format == "TIFF":
            _check_tiff(picture, path)
        if wrong := _damage(file, picture):
            raise DataError(
                f"{path}: the file is damaged, and pixels behind the damage would be wrong ({wrong}); copy it again, "
                "or look at it in a viewer, and save it anew there."
            )
        yield file, picture


def _decode_mask(path: str | os.PathLike) -> tuple[Image.Image, bool]:
    """The one image of a file, decoded and upright, and whether it came from a JPEG."""
    with _errors_naming(path), _opened(path) as (_, picture):
        lossy, (width, height) = picture.format in _JPEG_FORMATS, picture.size
        is_clear = "transparency" in picture.info and picture.mode != "P"
        if width * height > _MASK_PIXELS and (is_clear or picture.mode not in _MASK_MODES):
            raise DataError(
                f"{path}: a mask of {width} x {height} pixels of kind {picture.mode!r}, expected 8-bit grey "
                f"without alpha where there are more than {_MASK_PIXELS}; save it so."
            )
        if _is_deep_white_0(picture):
            # Pillow turns 8 bits round and leaves 16 as they are; how many of them are used, the file does not say.
            raise DataError(f"{path}: 16-bit grey in which white is 0 (MinIsWhite); save it with black as 0.")
        if ";16" in raw_mode(picture) and not picture.mode.startswith("I"):
            raise DataError(f"{path}: holds 16 bits a colour, expected a mask of 8; save it as 8-bit grey.")
        picture.load()
        return ImageOps.exif_transpose(picture), lossy


def _is_deep_white_0(picture: Image.Image) -> bool:
    return picture.mode.startswith("I") and picture.format == "TIFF" and picture.tag_v2.get(_PHOTOMETRIC) == 0


def _check_tiff(picture: Image.Image, path: str | os.PathLike) -> None:
    """Refuses TIFF files that Pillow would decode wrongly, or with far more memory than their size says."""
    width, height = picture.size
    extents = [tile.extents or (0, 0, width, height) for tile in picture.tile]
    covered = sum((right - left) * (bottom - top) for left, top, right, bottom in extents)
    if extents and covered < width * height:  # the rest would stay black
        raise DataError(
            f"{path}: is truncated or damaged, its parts cover {covered} of {width} x {height} pixels; {AGAIN}."
        )
    across, down = (picture.tag_v2.get(tag, 0) for tag in _TILE_SIDES)
    tile = across * down
    if tile > MAX_PIXELS or tile > max(_SMALL_TILE, 4 * width * height):
        raise DataError(
            f"{path}: {width} x {height} pixels in tiles of {across} x {down}, which would be decoded whole; save it "
            "with smaller tiles."
        )
    raw = raw_mode(picture)
    planes = picture.tag_v2.get(_PLANAR, 1) == 2 and picture.mode not in ("1", "L", "P")
    if planes and any(bits > 8 for bits in picture.tag_v2.get(258, (8,))) and not picture.mode.startswith("I"):
        raise DataError(f"{path}: 16 bits a colour in separate planes are not supported; save it with one plane.")
    if picture.tag_v2.get(_COMPRESSION) == _OLD_JPEG:
        raise DataError(f"{path}: JPEG of the old kind in TIFF ({raw}) is not supported; save it without compression.")
    if picture.tag_v2.get(_COMPRESSION) in _FAX:  # rows that are missing in it cannot be told
        raise DataError(f"{path}: CCITT (fax) compression is not supported; save it with LZW or without compression.")
    check_parts(picture, str(path))


def _damage(file: BinaryIO, picture: Image.Image) -> str | None:
    """The damage of a file that its decoder would pass over.

    Of JPEG, in a file or in a strip or tile of a TIFF file, it is the message of libjpeg about the first damage.
    """
    if picture.format in _JPEG_FORMATS:
        file.seek(0)
        return jpeg.damage(file.read())
    if picture.format == "TIFF" and picture.tag_v2.get(_COMPRESSION) == _JPEG:
        for start, size in places(picture):
            file.seek(start)
            if wrong := jpeg.damage(jpeg.whole_stream(picture.tag_v2.get(_TABLES, b""), file.read(size))):
                return wrong
    return None

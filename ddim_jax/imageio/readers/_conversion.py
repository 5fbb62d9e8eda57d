"""Decoded images of Pillow, of any kind, as uint8 [H, W, 3].

They are converted in bands: beside the 1 to 4 bytes a pixel that Pillow decodes to (twice of colours of 16 bits),
nothing of an image's size is held but the result.
"""

import sys
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image

from ddim_jax.imageio.bands import bands
from ddim_jax.imageio.depth import Depth, count_values, find_depth
from ddim_jax.imageio.masks import over_black
from ddim_jax.runtime.errors import DataError

_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def raw_mode(picture: Image.Image) -> str:
    """The storage of pixels, as Pillow's decoders call it: "RGB;16B"; "" where it does not say."""
    arguments = picture.tile[0].args if picture.tile else ""
    return (arguments if isinstance(arguments, str) else (arguments or ("",))[0]) or ""


def as_stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """A view of an upright image [H, W, 3] in the order in which a file of that EXIF orientation stores it."""
    turned = (
        upright,
        upright[:, ::-1],
        upright[::-1, ::-1],
        upright[::-1],
        upright.swapaxes(0, 1),
        np.rot90(upright),
        np.rot90(upright, 2).swapaxes(0, 1),
        np.rot90(upright, -1),
    )
    return turned[orientation - 1]


def convert(picture: Image.Image, stored: np.ndarray, name: str) -> None:
    """Writes a decoded image of 8 bits a channel to `stored`, uint8 [H, W, 3]."""
    if picture.mode == "F":
        raise DataError(f"{name}: holds floating-point grey, whose range is unknown; save it as 8- or 16-bit grey.")
    has_alpha = picture.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in picture.info
    visible = not has_alpha
    for rows, band in _bands(picture):
        if has_alpha:
            rgba = np.asarray(band.convert("RGBA"))
            visible = visible or bool(rgba[..., 3].any())
            stored[rows] = over_black(rgba)
        else:
            stored[rows] = np.asarray(band if band.mode == "RGB" else band.convert("RGB"))
    if not visible:
        raise _invisible(name)


class DeepPixels:
    """Pixels of 16 bits a channel, of which Pillow gives grey as it is and of colours the upper bytes alone."""

    def __init__(self, picture: Image.Image, low: Image.Image | None, is_grey_alpha: bool):
        self._picture, self._low, self._is_grey_alpha = picture, low, is_grey_alpha
        self._clear = picture.info.get("transparency")

    @classmethod
    def of(cls, file: BinaryIO, picture: Image.Image) -> "DeepPixels | None":
        """Pixels of an image that is not yet decoded; None where it has 8 bits a channel.

        Told that the order of a pixel's two bytes is the other one, Pillow keeps the lower bytes of colours: they are
        decoded twice. Grey with alpha is decoded as if its four bytes were four channels.
        """
        raw = raw_mode(picture)
        if picture.mode.startswith("I"):
            return cls(picture, None, False)
        if ";16" not in raw or picture.mode == "CMYK":
            return None
        if raw == "LA;16B":
            _store_as(picture, "RGBA")
            return cls(picture, None, True)
        file.seek(0)
        low = Image.open(file, formats=[picture.format])
        _store_as(low, raw[:-1] + _OTHER_BYTE[raw[-1]])
        low.load()
        file.seek(0)
        return cls(picture, low, False)

    def convert(self, stored: np.ndarray, name: str, window: tuple[float, float] | None = None) -> Depth:
        """Writes the pixels, brought to 8 bits as `find_depth` says, to `stored`, uint8 [H, W, 3]."""
        least, most = self._picture.getextrema() if self._picture.mode == "I" else (0, 0)
        if least < 0 or most > 65535:
            raise DataError(
                f"{name}: grey values reach from {least} to {most}, expected 0 to 65535; save a window of them."
            )
        counts, visible = np.zeros(65536, np.int64), False
        for _, values, alpha in self._values():
            count_values(counts, values)
            visible = visible or alpha is None or bool(alpha.any())
        if not visible:
            raise _invisible(name)
        depth = find_depth(counts, window)
        for rows, values, _ in self._values():
            stored[rows] = depth.table[values]
        return depth

    def _values(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray | None]]:
        """Bands: rows, uint16 [h, W, 1 or 3] laid over black, and the alpha channel or None."""
        lows = (np.asarray(band) for _, band in _bands(self._low)) if self._low else None
        for rows, band in _bands(self._picture):
            values, alpha = np.asarray(band), None
            if self._is_grey_alpha:
                pairs = values.astype(np.uint16)
                values, alpha = (pairs[..., k : k + 1] << 8 | pairs[..., k + 1 : k + 2] for k in (0, 2))
            elif lows is not None:
                values = values.astype(np.uint16) << 8 | next(lows)
                if band.mode == "RGBA":
                    alpha = values[..., 3:]
                values = values[..., :3]
            else:
                values = values.astype(np.uint16)[..., None]
            if self._clear is not None and alpha is None:
                alpha = (values != np.asarray(self._clear)).any(axis=-1, keepdims=True) * np.uint16(65535)
            if alpha is not None and band.mode != "RGBa":
                values = ((values.astype(np.uint32) * alpha + 32767) // 65535).astype(np.uint16)
            yield rows, values, alpha


def _bands(picture: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """The image in parts of some rows each: rows, and those pixels."""
    width, height = picture.size
    for rows in bands(height, width):
        whole = rows == slice(0, height)
        yield rows, picture if whole else picture.crop((0, rows.start, width, rows.stop))


def _store_as(picture: Image.Image, raw: str) -> None:
    """Has an image that is not yet decoded read as if its pixels were stored in another way."""
    picture.tile = [
        tile._replace(args=raw if isinstance(tile.args, str) else (raw, *tile.args[1:])) for tile in picture.tile
    ]


def _invisible(name: str) -> DataError:
    return DataError(
        f"{name}: every pixel is transparent (alpha is 0), there is nothing to see; save it without alpha."
    )

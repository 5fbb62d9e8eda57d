"""Images and masks that cannot be used, for sample.py and for training; all made here."""

import functools
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests.slow.trials.judge import Input, Make, Start
from tests.slow.trials.seeds import encoded, mask_pixels, pixels

_NOISE = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
_PNG, _JPEG, _BMP, _TIFF = (encoded(_NOISE, kind) for kind in ("PNG", "JPEG", "BMP", "TIFF"))
SPLITS = "stem,split\na,train\nb,val\nc,test\n"
_NAMED_AT_ONCE = 10
"""The number of problems of a data set that one message names."""


@functools.cache
def bad_pictures() -> dict[str, tuple[bytes | None, str]]:
    """Name of the file -> its bytes (None: a link to nothing), and a word that the message holds beside the name."""
    found: dict[str, tuple[bytes | None, str]] = {}
    for suffix, whole in (("png", _PNG), ("jpg", _JPEG), ("bmp", _BMP), ("tif", _TIFF)):
        for tenth in range(1, 10) if suffix in ("png", "jpg") else (2, 5, 9):
            found[f"cut_{suffix}_{tenth}.{suffix}"] = (whole[: len(whole) * tenth // 10], "")
    flipped = bytearray(_PNG)
    flipped[len(flipped) // 2] ^= 255
    rgb = Image.fromarray(pixels())
    values = np.full((8, 8), 0.5, np.float32)
    values[0, 0] = np.nan
    infinite = np.where(np.isnan(values), np.inf, values).astype(np.float32)
    found |= {
        "empty.png": (b"", "0 bytes"),
        "text.png": (b"This is no image.\n" * 40, "not an image"),
        "page.jpg": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "not an image"),
        "noise.tif": (np.random.default_rng(1).bytes(4000), "not an image"),
        "zeros.bmp": (bytes(4000), "not an image"),
        "program.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n", "not an image"),
        "animated_gif.png": (encoded(rgb, "GIF", save_all=True, append_images=[rgb.rotate(90)]), "not an image"),
        "flipped_byte.png": (bytes(flipped), "cannot be decoded"),
        "animated.png": (encoded(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)]), "2 frames"),
        "pages.tif": (encoded(rgb, "TIFF", save_all=True, append_images=[rgb, rgb]), "3 frames"),
        "nan.tif": (encoded(values, "TIFF"), "floating-point"),
        "infinite.tif": (encoded(infinite, "TIFF"), "floating-point"),
        "range.tif": (encoded(np.array([[-5, 70000]] * 4, np.int32), "TIFF"), "from -5 to 70000"),
        "lab.tif": (encoded(rgb.convert("LAB"), "TIFF"), "LAB"),
        "huge.png": (_png(30_000, 30_000, zlib.compress(bytes(1000))), "too large"),
        "huge.bmp": (_BMP[:18] + struct.pack("<ii", 30_000, 30_000) + _BMP[26:], "too large"),
        "huge.tif": (_huge_tiff(), "too large"),
        "no_width.png": (_png(0, 8, zlib.compress(bytes(100))), ""),
        "text_bomb.png": (_text_bomb(), "too large"),
        "dangling_link.png": (None, "a link to"),
    }
    return found


def sampled(run: Path) -> Make:
    """sample.py over all of them in one folder, with a good image among them."""

    def make(folder: Path) -> Start:
        source = folder / "in"
        source.mkdir()
        (source / "good.png").write_bytes(encoded(pixels(), "PNG"))
        inputs = []
        for name, (content, word) in bad_pictures().items():
            _put(source / name, content)
            inputs.append(Input(name, ("failed: ", f"{source / name}:", word)))
        kept = ("out", "out/settings.json", "out/index.jsonl", "out/.index.lock", "out/good_mask.png")
        arguments = ("--ckpt", str(run), "--input", str(source), "--output", str(folder / "out"))
        return Start("sample.py", arguments, tuple(inputs), status=1, kept=kept)

    return make


def smallest(run: Path) -> Make:
    """sample.py over an image of one pixel, the smallest there is: odd, but nothing is wrong with it."""

    def make(folder: Path) -> Start:
        _put(folder / "in/one_pixel.png", encoded(pixels(size=1), "PNG"))
        kept = ("out", "out/settings.json", "out/index.jsonl", "out/.index.lock", "out/one_pixel_mask.png")
        arguments = ("--ckpt", str(run), "--input", "in", "--output", "out")
        return Start("sample.py", arguments, (Input("one_pixel.png", ("1 image segmented", "0 failed")),), 0, kept)

    return make


def bad_pairs() -> dict[str, tuple[bytes | None, bytes | None, str]]:
    """Name of a pair -> its image, its mask, and a word of the message."""
    picture, mask = encoded(pixels(), "PNG"), mask_pixels()
    third, step = mask.copy(), mask // 255
    third[:12] = 128
    labels = np.where(mask > 0, np.arange(24, dtype=np.uint8)[:, None] % 4, 0)
    real = (mask / 255).astype(np.float32)
    real[3, 3] = np.nan
    infinite = np.where(np.isnan(real), np.inf, real).astype(np.float32)
    frame = Image.fromarray(mask)
    masks = {
        "other_size": (encoded(mask_pixels(20), "PNG"), "20 x 20"),
        "turned": (encoded(mask[:, :20], "PNG"), "20 x 24"),
        "three_levels": (encoded(third, "PNG"), "levels"),
        "labels": (encoded(labels, "PNG"), "levels"),
        "colours": (encoded(pixels(3), "PNG"), "colours"),
        "nan_mask": (encoded(real, "TIFF"), "NaN"),
        "infinite_mask": (encoded(infinite, "TIFF"), "NaN or infinite"),
        "jpeg_labels": (_flat_jpeg(step), "JPEG mask"),
        "frames": (encoded(frame, "TIFF", save_all=True, append_images=[frame]), "2 frames"),
        "text_mask": (b"0 1 1 0\n", "not an image"),
        "empty_mask": (b"", "0 bytes"),
        "cut_mask": (encoded(mask, "BMP")[:300], "cannot be decoded"),
        "huge_mask": (_png(30_000, 30_000, zlib.compress(bytes(1000))), "too large"),
        "dangling_mask": (None, "No such file"),
    }
    pairs = {name: (picture, content, word) for name, (content, word) in masks.items()}
    good = encoded(mask, "PNG")
    for name in ("cut_png_5.png", "cut_jpg_3.jpg", "text.png", "animated.png", "nan.tif", "huge.png"):
        pairs[f"picture_{Path(name).stem}"] = (bad_pictures()[name][0], good, bad_pictures()[name][1])
    return pairs


def trained(arguments: Callable[[Path], tuple[str, ...]]) -> Iterator[tuple[str, Make]]:
    """train.py with these pairs, as many at once as a message names.

    Args:
      arguments: of train.py, from the folder with the data.
    """
    pairs = list(bad_pairs().items())
    for first in range(0, len(pairs), _NAMED_AT_ONCE):
        yield f"pairs-{first}", _training(pairs[first : first + _NAMED_AT_ONCE], arguments)


def _training(pairs: list, arguments: Callable[[Path], tuple[str, ...]]) -> Make:
    def make(folder: Path) -> Start:
        rows, inputs = ["stem,split", "good,val"], []
        put_pair(folder, "good")
        for name, (picture, mask, word) in pairs:
            _put(folder / "images" / f"{name}.png", picture)
            _put(folder / "masks" / f"{name}.png", mask)
            rows.append(f"{name},train")
            inputs.append(Input(name, (f"/{name}.png", word)))
        (folder / "splits.csv").write_text("\n".join(rows) + "\n")
        return Start("train.py", arguments(folder), tuple(inputs))

    return make


def put_pair(folder: Path, name: str) -> None:
    """A good pair in the folder layout."""
    _put(folder / "images" / f"{name}.png", encoded(pixels(), "PNG"))
    _put(folder / "masks" / f"{name}.png", encoded(mask_pixels(), "PNG"))


def put_data(folder: Path) -> None:
    """Three good pairs a, b, c, one for each split."""
    for name in "abc":
        put_pair(folder, name)
    (folder / "splits.csv").write_text(SPLITS)


def _put(path: Path, content: bytes | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        path.symlink_to(path.with_name("nowhere"))
    else:
        path.write_bytes(content)


def _png(width: int, height: int, data: bytes) -> bytes:
    """A PNG file of 8-bit grey that declares a size and holds `data`."""
    chunks = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _text_bomb() -> bytes:
    """A PNG file with a comment of 20 MB, compressed to 20 kB."""
    bomb = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000)))
    return _PNG[:33] + bomb + _PNG[33:]


def _huge_tiff() -> bytes:
    """A TIFF file with other numbers for its width and height (tags 256 and 257, LONG)."""
    data = bytearray(_TIFF)
    (place,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, place)
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry)[0] in (256, 257):
            struct.pack_into("<HII", data, entry + 2, 4, 1, 30_000)
    return bytes(data)


def _flat_jpeg(values: np.ndarray) -> bytes:
    """A JPEG of 0 and 1, where compression noise and a label cannot be told apart."""
    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG", quality=100)
    return file.getvalue()

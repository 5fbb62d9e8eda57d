"""Memory that reading an image takes, for every kind of file, each in a process of its own.

    python -m tests.slow.picture_memory [--pixels N]

prints bytes a pixel and the peak of the process. Without a number the images are as large as any that is read; it
takes minutes and a few GB of disk.
"""

import argparse
import re
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ddim_jax.imageio import images
from ddim_jax.imageio.images import MAX_PIXELS
from ddim_jax.runtime.errors import DataError
from tests.picture_files import chunk, tiff

ROOT = Path(__file__).parents[2]
LIMIT = 2 * 2**30
_SIDE_OF_BLOCKS = 64


class Measured(NamedTuple):
    """One file read in a process of its own: bytes a pixel beyond the empty process, its peak, what the reader said."""

    name: str
    reader: str
    bytes_a_pixel: float
    peak: int
    said: str


def grey(side: int) -> np.ndarray:
    """uint8 [side, side]: blocks of some levels, which compress well."""
    steps = (np.arange(side) // _SIDE_OF_BLOCKS).astype(np.uint8)
    return (steps[:, None] * 7 + steps[None] * 13) % np.uint8(200)


def colours(side: int, channels: int = 3) -> np.ndarray:
    base = grey(side)
    return np.stack([base, 255 - base, base // 2, base | 1][:channels], axis=-1)


def _saved(mode: str, **options) -> Callable[[Path, int], None]:
    def make(path: Path, side: int) -> None:
        pixels = colours(side, 4) if mode in ("RGBA", "CMYK") else colours(side) if mode == "RGB" else grey(side)
        if mode == "LA":
            picture = Image.merge("LA", [Image.fromarray(pixels), Image.fromarray(pixels | 1)])
        elif mode == "I;16":
            picture = Image.fromarray(pixels.astype(np.uint16) * 16)
        elif mode == "I":
            picture = Image.fromarray(pixels.astype(np.int32) * 16)
        elif mode in ("RGBA", "RGB"):
            picture = Image.fromarray(pixels)
        elif mode == "CMYK":
            picture = Image.frombytes("CMYK", (side, side), pixels.tobytes())
        else:
            picture = Image.fromarray(pixels).convert(mode)
        del pixels
        picture.save(path, **options)

    return make


def _deep_png(channels: int, colour_type: int) -> Callable[[Path, int], None]:
    def make(path: Path, side: int) -> None:
        pixels, packer = colours(side, 4)[..., -channels:], zlib.compressobj(1)
        parts = [packer.compress(b"\0" + (row.astype(">u2") * 16).tobytes()) for row in pixels] + [packer.flush()]
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 16, colour_type, 0, 0, 0))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"".join(parts)) + chunk(b"IEND", b""))

    return make


def _deep_tiff(channels: int, compression: int) -> Callable[[Path, int], None]:
    """Colours of 16 bits in one strip, which is decoded whole."""

    def make(path: Path, side: int) -> None:
        tags = {256: side, 257: side, 258: (16,) * channels, 259: compression, 262: 2, 277: channels}
        if channels == 4:
            tags[338] = 2
        packer = zlib.compressobj(1)
        rows = ((row.astype("<u2") * 16).tobytes() for row in colours(side, channels))
        data = b"".join(rows) if compression == 1 else b"".join([*map(packer.compress, rows), packer.flush()])
        path.write_bytes(tiff(tags, data))

    return make


_TURNED = Image.Exif()
_TURNED[0x0112] = 6
KINDS: dict[str, Callable[[Path, int], None]] = {
    **{f"{mode}.png": _saved(mode, compress_level=1) for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "I;16")},
    "turned.png": _saved("RGB", compress_level=1, exif=_TURNED),
    "LA16.png": _deep_png(2, 4),
    "RGB16.png": _deep_png(3, 2),
    "RGBA16.png": _deep_png(4, 6),
    "grey.jpg": _saved("L"),
    "RGB.jpg": _saved("RGB", subsampling=0),
    "progressive.jpg": _saved("RGB", subsampling=0, progressive=True),
    "CMYK.jpg": _saved("CMYK"),
    "CMYK progressive.jpg": _saved("CMYK", progressive=True),
    "L.bmp": _saved("L"),
    "RGB.bmp": _saved("RGB"),
    **{f"{mode}.tif": _saved(mode) for mode in ("1", "L", "RGB", "RGBA", "CMYK", "I;16", "I")},
    "deflate.tif": _saved("RGB", compression="tiff_adobe_deflate"),
    "jpeg.tif": _saved("RGB", compression="jpeg"),
    "RGB16.tif": _deep_tiff(3, 1),
    "RGBA16.tif": _deep_tiff(4, 1),
    "RGBA16 deflate.tif": _deep_tiff(4, 8),
}


def measure(folder: Path, side: int, names: Iterable[str] = tuple(KINDS)) -> Iterator[Measured]:
    """Makes images of `side` x `side` pixels and reads each as an image and as a mask."""
    for name in names:
        path = folder / name
        _run("make", path, side)
        for reader in ("read_image", "read_mask"):
            size, peak, said = _run(reader, path, side).strip().split("\t")
            yield Measured(name, reader, float(size), int(peak), said)
        path.unlink()


def _run(what: str, path: Path, side: int) -> str:
    command = [sys.executable, "-m", "tests.slow.picture_memory", what, str(path), str(side)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def _child(what: str, path: str, side: str) -> None:
    Image.MAX_IMAGE_PIXELS = None
    if what == "make":
        KINDS[Path(path).name](Path(path), int(side))
        return
    read, said, before = getattr(images, what), "read", peak()
    try:
        read(path)
    except DataError as error:
        said = str(error).replace("\n", " ").replace("\t", " ")
    print((peak() - before) / int(side) ** 2, peak(), said, sep="\t")


def peak() -> int:
    """Bytes; not `getrusage`, whose peak is that of the process that started this one where it was larger."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=int, default=MAX_PIXELS, metavar="N", help="default: the most that are read")
    given, worst = parser.parse_args(), 0
    with tempfile.TemporaryDirectory() as folder:
        for one in measure(Path(folder), int(given.pixels**0.5)):
            worst = max(worst, one.peak)
            print(
                f"{one.name:22} {one.reader:11} {one.bytes_a_pixel:5.1f} {one.peak / 2**30:5.2f} GiB  {one.said[:60]}"
            )
    print(f"largest peak {worst / 2**30:.2f} GiB, limit {LIMIT / 2**30:.0f} GiB")
    return int(worst > LIMIT)


if __name__ == "__main__":
    if len(sys.argv) == 4 and not sys.argv[1].startswith("-"):
        _child(*sys.argv[1:])
    else:
        sys.exit(main())

"""Pixels that a PNG file lacks: the decoder in Pillow takes a stream that ends between two rows for a whole image.

Of streams that break off elsewhere, or whose checksum is wrong, it says so itself.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the kind of colour
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PART = 2**16  # bytes


def has_end(file: BinaryIO) -> bool:
    """Returns True if the chunk is there that ends every PNG file; where the file stands then is not said."""
    return any(kind == b"IEND" for kind, _ in _chunks(file))


def lacking(file: BinaryIO) -> str | None:
    """Says what is missing of the pixels in a stream that is closed nevertheless; None where nothing is.

    It inflates the pixels, in parts: as much work as decoding them.

    Raises:
      zlib.error: they cannot be inflated.
    """
    inflate, found, expected = zlib.decompressobj(), 0, 0
    for kind, left in _chunks(file):
        if kind == b"IHDR":
            header = file.read(left)
            expected = _bytes(*struct.unpack_from(">IIBB", header), bool(header[12]))
        while kind == b"IDAT" and found <= expected and (data := file.read(min(left, _PART))):
            left -= len(data)
            while data and found <= expected:  # no more: what lies behind may be of any length
                inflated = inflate.decompress(data, _PART)
                found, data = found + len(inflated), inflate.unconsumed_tail
    return f"its pixels end after {found} of {expected} bytes" if inflate.eof and found < expected else None


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yields kind and length of each chunk up to the end, with the file before its data."""
    at = 8
    while file.seek(at) and len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        yield kind, length
        if kind == b"IEND":
            return
        at += length + 12


def _bytes(width: int, height: int, depth: int, colours: int, interlaced: bool) -> int:
    """The bytes of all rows before compression, each with the one that says how it is filtered."""
    total = 0
    for left, top, across, down in _ADAM7 if interlaced else _WHOLE:
        columns, rows = max(0, -(-(width - left) // across)), max(0, -(-(height - top) // down))
        total += rows * (1 + -(-columns * depth * _CHANNELS[colours] // 8)) if columns else 0
    return total

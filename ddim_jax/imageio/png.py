"""Pixels that a PNG file lacks: the decoder in Pillow takes a stream that ends early for a picture that goes on black.

Of interlaced files, and of streams that break off, it says so itself; so it does where their checksum is wrong.
"""

import struct
import zlib
from typing import BinaryIO, NamedTuple

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by the kind of colour
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PART = 2**16  # bytes


class End(NamedTuple):
    """How a PNG file ends.

    Attributes:
      lacking: what is missing of its pixels in a stream that is closed nevertheless; None for nothing.
      is_there: the chunk that ends every PNG file was found.
    """

    lacking: str | None
    is_there: bool


def find_end(file: BinaryIO) -> End:
    """Reads a PNG file to its end, in parts, and counts the bytes of its pixels; where it stands then is not said."""
    file.seek(8)
    inflate, found, expected, ended = zlib.decompressobj(), 0, 0, False
    while not ended and len(head := file.read(8)) == 8:
        left, kind = struct.unpack(">I4s", head)
        ended = kind == b"IEND"
        if kind == b"IHDR":
            header, left = file.read(left), 0
            expected = _bytes(*struct.unpack_from(">IIBB", header), bool(header[12]))
        while kind == b"IDAT" and found <= expected and (data := file.read(min(left, _PART))):
            left -= len(data)
            while data and found <= expected:  # no more: what lies behind may be of any length
                inflated = inflate.decompress(data, _PART)
                found, data = found + len(inflated), inflate.unconsumed_tail
        file.seek(left + 4, 1)
    if inflate.eof and found < expected:
        return End(f"its pixels end after {found} of {expected} bytes", ended)
    return End(None, ended)


def _bytes(width: int, height: int, depth: int, colours: int, interlaced: bool) -> int:
    """The bytes of all rows before compression, each with the one that says how it is filtered."""
    total = 0
    for left, top, across, down in _ADAM7 if interlaced else _WHOLE:
        columns, rows = max(0, -(-(width - left) // across)), max(0, -(-(height - top) // down))
        total += rows * (1 + -(-columns * depth * _CHANNELS[colours] // 8)) if columns else 0
    return total

"""Image files that Pillow cannot write, byte by byte: PNG of 16 bits a channel, TIFF with any tags."""

import struct
import zlib

import numpy as np


def png(values, colour_type, extra=b""):
    """A PNG file of 16-bit values [H, W, C], each row filtered in another way; `extra`: chunks before the pixels."""
    height, width, channels = values.shape
    raw = np.asarray(values).astype(">u2").tobytes()
    length, step = width * channels * 2, channels * 2
    before, lines = bytes(length), b""
    for y in range(height):
        line, kind = raw[y * length : (y + 1) * length], y % 5
        coded = bytes((line[i] - _predicted(kind, line, before, i, step)) & 255 for i in range(length))
        lines, before = lines + bytes([kind]) + coded, line
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    parts = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _predicted(kind, line, before, i, step):
    """PNG specification, 9.2: none, sub, up, average, Paeth."""
    left, up, corner = (line[i - step] if i >= step else 0), before[i], (before[i - step] if i >= step else 0)
    guess = left + up - corner
    paeth = min((left, up, corner), key=lambda value: abs(guess - value))  # the first of equal ones
    return (0, left, up, (left + up) // 2, paeth)[kind]


def tiff(tags, data=b""):
    """A little-endian TIFF file of LONG tags {number: value or values}; 273 or 324 (where pixels are) are filled in.

    `data`: what the strips or tiles hold, one after the other: bytes or a list of bytes.
    """
    parts = data if isinstance(data, list) else [data]
    tiled = 322 in tags
    starts = [8 + sum(map(len, parts[:k])) for k in range(len(parts))]
    tags = {324 if tiled else 273: starts, 325 if tiled else 279: [len(part) for part in parts]} | tags
    body, place = b"".join(parts), 8 + sum(map(len, parts))
    extra_place = place + 2 + 12 * len(tags) + 4
    entries, extra = b"", b""
    for number, value in sorted(tags.items()):
        values = list(value) if isinstance(value, list | tuple | bytes) else [value]
        kind, packed = (7, bytes(values)) if isinstance(value, bytes) else (4, struct.pack(f"<{len(values)}I", *values))
        if len(packed) > 4:
            packed, extra = struct.pack("<I", extra_place + len(extra)), extra + packed
        entries += struct.pack("<HHI", number, kind, len(values)) + packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", place) + body + struct.pack("<H", len(tags)) + entries + bytes(4) + extra


def grey_tags(width, height, **more):
    """Tags of 8-bit grey without compression; `more`: by `t<number>`."""
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1}
    return tags | {int(name[1:]): value for name, value in more.items()}

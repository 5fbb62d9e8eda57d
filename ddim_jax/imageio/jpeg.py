"""Damage in JPEG data, which decoders pass over: after a hole they go on with whatever they make of the rest.

The decoder in Pillow (libjpeg) warns of it and Pillow drops the warnings. simplejpeg, the same libjpeg, gives them; it
decodes at an eighth of the size, so that little more than the entropy decoding is done twice.
"""

from typing import NamedTuple

import simplejpeg

_DAMAGE = ("Corrupt JPEG data", "Premature end of JPEG", "Inconsistent progression", "Invalid SOS")
_MOST_SCANS = 500
_END = b"\xff\xd9"
_DCT = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # sequential, extended, progressive; the last two with arithmetic coding


class Frame(NamedTuple):
    """The head of a JPEG or JPEG-LS frame: the marker that says how it is coded, bits a sample, size."""

    marker: int
    bits: int
    height: int
    width: int


def frame_of(data: bytes) -> Frame | None:
    """The frame of a stream, found as libjpeg finds it; None where there is none before the coded pixels."""
    at = 2 if data.startswith(b"\xff\xd8") else len(data)
    while (at := data.find(b"\xff", at)) >= 0:
        while data[at : at + 1] == b"\xff":
            at += 1
        head = data[at : at + 8]
        if len(head) < 8 or head[0] in (0xD9, 0xDA):
            return None
        if head[0] == 0xF7 or (0xC0 <= head[0] <= 0xCF and head[0] not in (0xC4, 0xC8, 0xCC)):
            return Frame(head[0], head[3], int.from_bytes(head[4:6], "big"), int.from_bytes(head[6:8], "big"))
        has_length = head[0] not in (0, 1) and not 0xD0 <= head[0] <= 0xD8
        at += 1 + (int.from_bytes(head[1:3], "big") if has_length else 0)
    return None


def damage(data: bytes) -> str | None:
    """The first warning of libjpeg about the coded pixels of a JPEG stream; None if there is none.

    More scans than any encoder writes (a progressive file has about 10) would keep a decoder busy for hours: that is
    damage as well.

    What it cannot decode at all is no damage of this kind: None as well, for reading the image says so. So it is for
    lossless JPEG, which ends the process if it is asked for at an eighth, and for more than 8 bits.
    """
    frame = frame_of(data)
    if frame is None or frame.marker not in _DCT or frame.bits != 8:
        return None
    if data.count(b"\xff\xda") > _MOST_SCANS:
        return f"more than {_MOST_SCANS} scans"
    try:
        colours = "CMYK" if simplejpeg.decode_jpeg_header(data)[2] in ("CMYK", "YCCK") else "GRAY"
        simplejpeg.decode_jpeg(data, colours, min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        text = str(error)
        return text if text.startswith(_DAMAGE) else None
    return None


def whole_stream(tables: bytes, part: bytes) -> bytes:
    """A JPEG stream of its own from a strip or tile of a TIFF file and the tables that its parts share (may be b"")."""
    return tables.removesuffix(_END) + part.removeprefix(b"\xff\xd8") if tables else part

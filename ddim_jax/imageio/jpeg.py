"""Damage in JPEG data, which decoders pass over: after a hole they go on with whatever they make of the rest.

The decoder in Pillow (libjpeg) warns of it and Pillow drops the warnings. simplejpeg, the same libjpeg, gives them; it
decodes at an eighth of the size, so that little more than the entropy decoding is done twice.
"""

import simplejpeg

_DAMAGE = ("Corrupt JPEG data", "Premature end of JPEG", "Inconsistent progression", "Invalid SOS")
_MOST_SCANS = 500
END = b"\xff\xd9"


def damage(data: bytes) -> str | None:
    """The first warning of libjpeg about the coded pixels of a JPEG stream; None if there is none.

    More scans than any encoder writes (a progressive file has about 10) would keep a decoder busy for hours: that is
    damage as well.

    What it cannot decode at all is no damage of this kind: None as well, for reading the picture says so.
    """
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
    return tables.removesuffix(END) + part.removeprefix(b"\xff\xd8") if tables else part

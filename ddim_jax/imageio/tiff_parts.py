"""Strips and tiles that a TIFF file lacks: decoders fill them with what lies elsewhere in the file, or with nothing."""

from PIL import Image

from ddim_jax.imageio.images import AGAIN
from ddim_jax.runtime.errors import DataError

PARTS = ((273, 279), (324, 325))
"""The tags of offsets and lengths: of strips, of tiles."""
_BITS, _COMPRESSION, _PHOTOMETRIC, _ROWS, _PLANAR, _TILE_SIDES = 258, 259, 262, 278, 284, (322, 323)
_HEADER_BYTES = 8
_PLAIN, _YCBCR = 1, 6


def places(picture: Image.Image) -> list[tuple[int, int]]:
    """Offset and length of each part of an opened TIFF image; none where it does not say."""
    tags = picture.tag_v2
    return next(
        (list(zip(tags[at], tags[size], strict=False)) for at, size in PARTS if at in tags and size in tags), []
    )


def check_parts(picture: Image.Image, name: str) -> None:
    """Refuses a file with a part that is nowhere, or shorter than its pixels where they are not compressed.

    Raises:
      DataError: names the file and the part.
    """
    tags = picture.tag_v2
    width, height = picture.size
    bits = tags.get(_BITS, (1,))
    samples = 1 if tags.get(_PLANAR, 1) == 2 else len(bits)
    in_tiles = PARTS[0][0] not in tags
    across, down = (
        (tags.get(tag, 0) for tag in _TILE_SIDES) if in_tiles else (width, min(tags.get(_ROWS, height), height))
    )
    plain = tags.get(_COMPRESSION, _PLAIN) == _PLAIN and tags.get(_PHOTOMETRIC) != _YCBCR
    for index, (at, size) in enumerate(places(picture)):
        rows = down
        if not in_tiles and down:  # the last strip of each plane may be lower
            rows = min(down, height - index % -(-height // down) * down)
        needed = rows * -(-across * samples * bits[0] // 8) if plain else 1
        if at < _HEADER_BYTES or size < needed:
            raise DataError(
                f"{name}: is truncated or damaged, part {index + 1} of its pixels has {size} bytes at {at}, expected "
                f"{needed} or more behind the header; {AGAIN}."
            )

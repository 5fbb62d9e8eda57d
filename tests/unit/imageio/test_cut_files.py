"""PNG, TIFF and BMP files that lack rows are no image."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from ddim_jax.imageio import images
from ddim_jax.runtime.errors import DataError

RGB = np.random.default_rng(0).integers(1, 256, (32, 24, 3), np.uint8)
SEVENTHS = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
ROWS = b"".join(b"\0" + row.tobytes() for row in RGB)
INTERLACED = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in SEVENTHS for row in RGB[y::dy, x::dx])


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows, interlaced=False, part=2**16):
    """A PNG file whose pixels are in chunks of `part` bytes."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 24, 32, 8, 2, 0, 0, interlaced))
    packed = zlib.compress(rows)
    pixels = b"".join(chunk(b"IDAT", packed[at : at + part]) for at in range(0, len(packed), part))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


def tiff(compression=None):
    """A TIFF file of four strips; of fax codes in black and white."""
    about, file = TiffImagePlugin.ImageFileDirectory_v2(), io.BytesIO()
    about[278] = 8
    mode = "1" if compression in ("group3", "group4", "tiff_ccitt") else "RGB"
    Image.fromarray(RGB).convert(mode).save(file, "TIFF", tiffinfo=about, compression=compression)
    return file.getvalue()


def with_tag(content, tag, change):
    """The values of a tag as `change` has them."""
    content = bytearray(content)
    (start,) = struct.unpack_from("<I", content, 4)
    for place in range(start + 2, start + 2 + 12 * content[start], 12):
        found, kind, count = struct.unpack_from("<HHI", content, place)
        if found == tag:
            form = f"<{count}{'H' if kind == 3 else 'I'}"
            at = place + 8 if struct.calcsize(form) <= 4 else struct.unpack_from("<I", content, place + 8)[0]
            struct.pack_into(form, content, at, *change(struct.unpack_from(form, content, at)))
    return bytes(content)


def assert_refused(path, content, told):
    path.write_bytes(content)
    for read in (images.read_image, images.read_mask):
        with pytest.raises(DataError, match=told):
            read(path)


@pytest.mark.parametrize("part", [60, 2**16])
@pytest.mark.parametrize("interlaced", [False, True])
def test_a_png_file_that_is_cut_is_refused_unless_all_pixels_are_there(tmp_path, interlaced, part):
    path, whole = tmp_path / "x.png", png(INTERLACED if interlaced else ROWS, interlaced, part)
    read = []
    for cut in range(8, len(whole)):
        path.write_bytes(whole[:cut])
        try:
            np.testing.assert_array_equal(images.read_image(path), RGB)
            read.append(cut)
        except DataError as error:
            assert str(path) in str(error)
    assert read and min(read) > len(whole) - 40


def test_what_lies_behind_the_pixels_of_a_png_file_is_no_damage(tmp_path):
    for content in (png(ROWS) + b"more", png(ROWS + bytes(10**6)), png(INTERLACED, True) + bytes(10)):
        (tmp_path / "x.png").write_bytes(content)
        found = images.read_picture(tmp_path / "x.png")
        assert found.notes == ()
        np.testing.assert_array_equal(found.pixels, RGB)


@pytest.mark.parametrize("compression", [None, "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg"])
def test_a_strip_that_is_missing(tmp_path, compression):
    whole = tiff(compression)
    (tmp_path / "x.tif").write_bytes(whole)
    assert images.read_picture(tmp_path / "x.tif").notes == ()
    for tag in (273, 279):
        nowhere = with_tag(whole, tag, lambda values: (*values[:2], 0, *values[3:]))
        assert_refused(tmp_path / "x.tif", nowhere, "part 3 of its pixels has ")


def test_a_strip_that_is_too_short(tmp_path):
    short = with_tag(tiff(), 279, lambda values: (*values[:3], values[3] - 1))
    assert_refused(tmp_path / "x.tif", short, "part 4 of its pixels has 575 bytes at .* expected 576")


@pytest.mark.parametrize("kind", ["group3", "group4", "tiff_ccitt"])
def test_fax_codes_are_refused(tmp_path, kind):
    path = tmp_path / "x.tif"
    path.write_bytes(tiff(kind))
    for read in (images.read_image, images.read_mask):
        with pytest.raises(DataError, match=r"x\.tif: CCITT \(fax\) .* save it with LZW or without compression\.$"):
            read(path)


def test_a_bmp_file_that_ends_early(tmp_path):
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "BMP")
    assert_refused(tmp_path / "x.bmp", file.getvalue()[:-1], r"x\.bmp: cannot be decoded, the file is truncated")

"""PNG, TIFF and BMP files that lack rows are no image; one that lacks nothing but its end has a note."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from ddim_jax.imageio import images
from ddim_jax.imageio.png import lacking as lacking_of
from ddim_jax.runtime.errors import DataError

RGB = np.random.default_rng(0).integers(1, 256, (32, 24, 3), np.uint8)
SEVENTHS = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
ROWS = b"".join(b"\0" + row.tobytes() for row in RGB)
INTERLACED = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in SEVENTHS for row in RGB[y::dy, x::dx])


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows, interlaced=False):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 24, 32, 8, 2, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


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


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("lacking", [1, 73, 16 * 73, 31 * 73, 32 * 73])
def test_a_png_file_with_too_few_rows(tmp_path, interlaced, lacking):
    rows = INTERLACED if interlaced else ROWS
    assert_refused(tmp_path / "x.png", png(rows[:-lacking], interlaced), r"x\.png: .* truncated or damaged")
    with open(tmp_path / "x.png", "rb") as file:
        assert lacking_of(file) == f"its pixels end after {len(rows) - lacking} of {len(rows)} bytes"


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("colours", [0, 2, 3, 4, 6])
def test_png_files_of_every_kind(tmp_path, bits, colours):
    if (colours in (2, 4, 6) and bits < 8) or (colours == 3 and bits == 16):
        return  # no such PNG files
    for interlaced in (False, True):
        for width, height in ((1, 1), (3, 2), (5, 9)):
            channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
            sides = SEVENTHS if interlaced else [(0, 0, 1, 1)]
            passes = [(len(range(x, width, dx)), len(range(y, height, dy))) for x, y, dx, dy in sides]
            rows = [b"\0" + b"\xff" * ((w * bits * channels + 7) // 8) for w, h in passes for _ in range(h) if w]
            header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, interlaced))
            palette = chunk(b"PLTE", b"\xff" * 3 * 2 ** min(bits, 8)) if colours == 3 else b""
            for kept in (rows, rows[:-1]):
                pixels = chunk(b"IDAT", zlib.compress(b"".join(kept)))
                (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + palette + pixels + chunk(b"IEND", b""))
                if kept is rows:
                    assert (images.read_picture(tmp_path / "x.png").pixels == 255).all()
                else:
                    with pytest.raises(DataError, match="truncated or damaged"):
                        images.read_picture(tmp_path / "x.png")


@pytest.mark.parametrize("lost", [1, 12, 14, 18])
def test_a_png_file_that_lacks_its_end_has_a_note(tmp_path, lost):
    (tmp_path / "x.png").write_bytes(png(ROWS)[:-lost])
    found = images.read_picture(tmp_path / "x.png")
    np.testing.assert_array_equal(found.pixels, RGB)
    assert found.notes == (() if lost == 1 else ("no end (the file breaks off, behind the last of its pixels)",))


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


def test_fax_codes_that_may_lack_rows(tmp_path):
    path = tmp_path / "x.tif"
    path.write_bytes(tiff("group4"))
    assert images.read_picture(path).notes == ()
    cut = with_tag(tiff("group4"), 279, lambda values: (*values[:3], values[3] // 2))
    for content, told in (
        (cut, "part 4 of its CCITT 4 coded pixels has no end"),
        (tiff("group3"), "nothing in CCITT 3 coding says if rows are missing"),
        (tiff("tiff_ccitt"), "nothing in CCITT 2 coding says if rows are missing"),
    ):
        path.write_bytes(content)
        for read in (images.read_image, images.read_mask):
            with pytest.raises(DataError, match=told):
                read(path)


def test_a_bmp_file_that_ends_early(tmp_path):
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "BMP")
    assert_refused(tmp_path / "x.bmp", file.getvalue()[:-1], r"x\.bmp: cannot be decoded, the file is truncated")

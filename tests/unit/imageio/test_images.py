"""Images in and out of files, every format against values written down by hand or worked out in NumPy."""

import re
import struct

import numpy as np
import pytest
from picture_files import tiff
from PIL import Image

from ddim_jax.imageio import images
from ddim_jax.imageio.readers import pillow
from ddim_jax.runtime.errors import DataError

GREY = np.array([[0, 10, 20], [100, 200, 255]], np.uint8)
RGB = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)


def grey3(values):
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, axis=-1)


def saved(path, pixels, **options):
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff", "PNG"])
def test_grey_and_rgb_are_exact_in_lossless_formats(tmp_path, suffix):
    np.testing.assert_array_equal(images.read_image(saved(tmp_path / f"grey.{suffix}", GREY)), grey3(GREY))
    np.testing.assert_array_equal(images.read_image(saved(tmp_path / f"rgb.{suffix}", RGB)), RGB)


def test_the_format_is_told_by_content_not_by_name(tmp_path):
    path = tmp_path / "actually_png.jpg"
    saved(path, RGB, format="PNG")
    np.testing.assert_array_equal(images.read_image(path), RGB)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(("largest", "full"), [(200, 255), (256, 1023), (4000, 4095), (9000, 16383), (65535, 65535)])
def test_sixteen_bit_grey_is_scaled_by_the_smallest_bit_depth_that_holds_it(tmp_path, suffix, largest, full):
    values = np.array([[0, 17, largest // 3], [largest // 2, largest - 1, largest]] * 2, np.uint16)
    expected = np.round(values.astype(float) * 255 / full)
    np.testing.assert_array_equal(images.read_image(saved(tmp_path / f"x.{suffix}", values)), grey3(expected))


def test_values_of_unknown_range_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"x\.tif: grey values reach from -5 to 70000"):
        images.read_image(saved(tmp_path / "x.tif", np.array([[-5, 70000]], np.int32)))
    with pytest.raises(DataError, match=r"y\.tif: holds floating-point grey"):
        images.read_image(saved(tmp_path / "y.tif", np.array([[0.5, 1.0]], np.float32)))
    with pytest.raises(DataError, match=r"z\.tif: pixels of kind 'LAB'"):
        images.read_image(saved(tmp_path / "z.tif", Image.new("LAB", (2, 2))))


@pytest.mark.parametrize("reader", [images.read_image, images.read_mask])
def test_a_tiff_with_white_as_zero_is_turned_round_or_refused(tmp_path, reader):
    """Pillow inverts what has 8 bits and leaves 16 as they are."""
    mask = np.array([[0, 255, 255], [0, 0, 255]], np.uint8)
    usual, eight = (saved(tmp_path / f"{k}.tif", mask, tiffinfo={262: k}) for k in (1, 0))
    np.testing.assert_array_equal(reader(eight), reader(usual))
    sixteen = saved(tmp_path / "16.tif", mask.astype(np.uint16) * 257, tiffinfo={262: 0})
    if reader is images.read_image:
        np.testing.assert_array_equal(reader(sixteen)[..., 0], 255 - mask)
        return
    with pytest.raises(DataError, match=r"16\.tif: 16-bit grey in which white is 0 \(MinIsWhite\); save it with black"):
        reader(sixteen)


def test_transparency_is_laid_over_black(tmp_path):
    alpha = np.array([[0, 128, 255]] * 2, np.uint8)
    expected = np.round(RGB * (alpha[..., None] / 255.0))
    np.testing.assert_array_equal(images.read_image(saved(tmp_path / "a.png", np.dstack([RGB, alpha]))), expected)
    grey_alpha = np.dstack([GREY, alpha])
    expected = np.round(GREY * (alpha / 255.0))
    np.testing.assert_array_equal(images.read_image(saved(tmp_path / "b.png", grey_alpha)), grey3(expected))


def test_palettes_and_booleans(tmp_path):
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    colours = np.array([[1, 2, 3], [200, 100, 50], [0, 255, 0]], np.uint8)
    picture = Image.fromarray(indices, "P")
    picture.putpalette(colours.ravel().tolist())
    np.testing.assert_array_equal(images.read_image(saved(tmp_path / "p.png", picture)), colours[indices])
    # Index 1 transparent: black there.
    clear = np.where((indices == 1)[..., None], 0, colours[indices])
    np.testing.assert_array_equal(images.read_image(saved(tmp_path / "t.png", picture, transparency=1)), clear)
    np.testing.assert_array_equal(images.read_image(saved(tmp_path / "b.png", GREY > 50)), grey3((GREY > 50) * 255))


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    # Flat colours survive JPEG: cyan 100% is (0, 255, 255); no ink is white; black 50% is mid-grey.
    for name, inks, colour in [("c", (255, 0, 0, 0), (0, 255, 255)), ("w", (0, 0, 0, 0), (255, 255, 255)),
                               ("k", (0, 0, 0, 128), (127, 127, 127))]:  # fmt: skip
        path = saved(tmp_path / f"{name}.jpg", Image.new("CMYK", (16, 16), inks), quality=95)
        assert Image.open(path).mode == "CMYK"
        np.testing.assert_allclose(images.read_image(path), np.full((16, 16, 3), colour), atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_exif_orientation_is_applied_to_images_masks_and_shapes(tmp_path, orientation, suffix):
    # Blocks of 16 pixels with colours far apart, so that JPEG keeps them.
    upright = np.kron(np.array([[255, 0, 0], [0, 255, 255]], np.uint8), np.ones((16, 16), np.uint8))
    # How a camera held that way stores the scene (EXIF 2.3, tag 0x0112), undone one by one.
    store = {
        1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: np.transpose,
        6: lambda x: np.rot90(x, 1), 7: lambda x: np.rot90(x, 2).T, 8: lambda x: np.rot90(x, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / f"x.{suffix}", np.ascontiguousarray(store(upright)), exif=exif)
    np.testing.assert_allclose(images.read_image(path), grey3(upright), atol=12)
    np.testing.assert_array_equal(images.read_mask(path), upright > 127)
    assert images.count_pixels(path) == 32 * 48


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif"])
@pytest.mark.parametrize("reader", [images.read_image, images.read_mask])
def test_damaged_files_are_named(tmp_path, suffix, reader):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    whole = saved(tmp_path / f"whole.{suffix}", noise).read_bytes()
    for name, content in [
        ("cut", whole[: len(whole) // 2]),
        ("header", whole[:20]),
        ("empty", b""),
        ("text", b"hello" * 9),
    ]:
        path = tmp_path / f"{name}.{suffix}"
        path.write_bytes(content)
        with pytest.raises(DataError, match=re.escape(str(path))):
            reader(path)


def test_a_flipped_byte_in_a_png_is_found(tmp_path):
    path = saved(tmp_path / "x.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"x\.png: cannot be decoded"):
        images.read_image(path)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.png: cannot be read \(No such file"):
        images.read_image(tmp_path / "nothing.png")
    with pytest.raises(DataError, match=r"nothing\.png: cannot be read \(No such file"):
        images.count_pixels(tmp_path / "nothing.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataError, match=r"folder\.png: cannot be read"):
        images.read_image(tmp_path / "folder.png")


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_several_frames_are_refused(tmp_path, suffix):
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY), Image.fromarray(GREY // 2)]
    frames[0].save(tmp_path / f"stack.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=rf"stack\.{suffix}: holds 3 frames, expected one"):
        images.read_image(tmp_path / f"stack.{suffix}")


def test_no_other_decoder_is_tried(tmp_path):
    """Another reader of Pillow, the one for EPS starts Ghostscript on the file."""
    saved(tmp_path / "x.png", GREY, format="GIF")
    (tmp_path / "y.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n")
    (tmp_path / "z.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    (tmp_path / "page.jpg").write_bytes(b"\n<!DOCTYPE html><html>404</html>")
    (tmp_path / "text.png").write_bytes(b"This is no image.")
    kinds = {"x.png": "GIF", "y.png": "PostScript", "z.jpg": "HEIC", "page.jpg": "web page", "text.png": ""}
    for name, kind in kinds.items():
        told = rf" \(it is a {kind} file\)" if kind else ""
        expected = rf"{name}: not an image this can read{told}; expected PNG, JPEG, BMP or TIFF"
        with pytest.raises(DataError, match=expected):
            images.read_image(tmp_path / name)
    (tmp_path / "text.xyz").write_bytes(b"This is no image.")
    with pytest.raises(DataError, match=r"text\.xyz: .*; expected a file ending in \.bmp, \.dcm, .*\.nii\.gz, "):
        images.read_image(tmp_path / "text.xyz")


@pytest.mark.parametrize(("bits", "kind"), [([16], 3), ([64], 3), ([64], 1), ([32] * 3, 3), ([8] * 5, 1)])
def test_the_kinds_of_tiff_that_are_read_are_said(tmp_path, bits, kind):
    tags = {256: 2, 257: 2, 258: bits, 259: 1, 262: 1, 277: len(bits), 339: [kind] * len(bits)}
    (tmp_path / "x.tif").write_bytes(tiff(tags, bytes(4 * sum(bits) // 8)))
    said = r"x\.tif: not an image .* TIFF with one grey, palette, RGB or CMYK image of 1, 8 or 16 bits a channel"
    with pytest.raises(DataError, match=said):
        images.read_image(tmp_path / "x.tif")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # as the module does
@pytest.mark.parametrize("reader", [images.read_image, images.read_mask, images.count_pixels])
def test_a_picture_that_is_too_large_is_refused_by_its_header(tmp_path, reader, monkeypatch):
    whole = saved(tmp_path / "x.bmp", RGB).read_bytes()
    for side, message in ((10_000, f"10000 x 10000 pixels, expected at most {2**30 // 12}"), (30_000, "too large")):
        (tmp_path / "x.bmp").write_bytes(whole[:18] + 2 * side.to_bytes(4, "little") + whole[26:])
        with pytest.raises(DataError, match=rf"x\.bmp: {message}"):
            reader(tmp_path / "x.bmp")
    (tmp_path / "x.bmp").write_bytes(whole)
    monkeypatch.setattr(pillow, "MAX_PIXELS", 6)
    images.read_image(tmp_path / "x.bmp")  # 3 x 2
    monkeypatch.setattr(pillow, "MAX_PIXELS", 5)
    with pytest.raises(DataError, match=r"x\.bmp: 3 x 2 pixels, expected at most 5"):
        reader(tmp_path / "x.bmp")


def test_a_tiff_with_too_few_strips_is_refused(tmp_path):
    """The height in the header is 400 times what the only strip holds: 24 x 24."""
    content = bytearray(saved(tmp_path / "x.tif", np.full((24, 24), 7, np.uint8)).read_bytes())
    (directory,) = struct.unpack_from("<I", content, 4)
    entries = range(directory + 2, len(content), 12)
    place = next(entry for entry in entries if struct.unpack_from("<H", content, entry)[0] == 257)  # the height
    struct.pack_into("<HII", content, place + 2, 4, 1, 9600)
    (tmp_path / "x.tif").write_bytes(content)
    for reader in (images.read_image, images.read_mask):
        with pytest.raises(DataError, match=r"x\.tif: is truncated .* its parts cover 576 of 24 x 9600 pixels"):
            reader(tmp_path / "x.tif")


@pytest.mark.parametrize("error", [KeyError(257), ZeroDivisionError("division"), RecursionError()])
def test_whatever_a_decoder_raises_names_the_file(tmp_path, error, monkeypatch):
    def damaged(*_, **__):
        raise error

    monkeypatch.setattr(Image, "open", damaged)
    with pytest.raises(DataError, match=rf"x\.png: cannot be decoded.*{error or type(error).__name__}"):
        images.read_image(saved(tmp_path / "x.png", GREY))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), r"x\.png: there is not enough memory to decode it"),
        (Image.DecompressionBombWarning("big"), r"x\.png: too large to be decoded safely \(big\)"),
    ],
)
def test_a_lack_of_memory_and_a_size_pillow_warns_of(tmp_path, error, message, monkeypatch):
    def refuses(*_, **__):
        raise error

    path = saved(tmp_path / "x.png", GREY)
    monkeypatch.setattr(Image, "open", refuses)
    with pytest.raises(DataError, match=message):
        images.read_image(path)


def test_pixels_are_counted_from_the_header(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((300, 200, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:60])  # no more than the header is read
    assert images.count_pixels(path) == 60_000
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.png: the file is empty"):
        images.count_pixels(path)

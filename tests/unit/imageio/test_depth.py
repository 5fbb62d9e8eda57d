"""Images of 16 bits a channel keep their levels; what is lost is said."""

import numpy as np
import pytest
from picture_files import chunk, grey_tags, png, tiff
from PIL import Image

from ddim_jax.imageio import images
from ddim_jax.imageio.constant import constant_note
from ddim_jax.imageio.depth import find_depth
from ddim_jax.runtime.errors import DataError

RAMP = np.linspace(0, 4000, 40 * 50).astype(np.uint16).reshape(40, 50)
EXPECTED = np.round(RAMP * (255 / 4095)).astype(np.uint8)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP.max() - RAMP[:, ::-1] // 2], axis=-1)
EXPECTED_COLOURS = np.round(COLOURS * (255 / 4095)).astype(np.uint8)


def read(tmp_path, content, name="x.png"):
    (tmp_path / name).write_bytes(content)
    return images.read_picture(tmp_path / name)


def test_colours_of_16_bits_keep_their_levels(tmp_path):
    found = read(tmp_path, png(COLOURS, 2))
    np.testing.assert_array_equal(found.pixels, EXPECTED_COLOURS)
    assert found.range == (0, 4095) and found.notes == () and len(np.unique(found.pixels)) == 250
    tags = {256: 50, 257: 40, 258: (16, 16, 16), 259: 1, 262: 2, 277: 3}
    found = read(tmp_path, tiff(tags, COLOURS.astype("<u2").tobytes()), "x.tif")
    np.testing.assert_array_equal(found.pixels, EXPECTED_COLOURS)
    tags |= {322: 32, 323: 32}
    padded = np.zeros((64, 64, 3), "<u2")
    padded[:40, :50] = COLOURS
    tiles = [padded[y : y + 32, x : x + 32].tobytes() for y in (0, 32) for x in (0, 32)]
    found = read(tmp_path, tiff(tags, tiles), "tiles.tif")
    np.testing.assert_array_equal(found.pixels, EXPECTED_COLOURS)


def test_transparency_of_16_bits_is_laid_over_black(tmp_path):
    alpha = np.tile(np.linspace(0, 65535, 50).astype(np.uint16), (40, 1))[..., None]
    laid = np.round(COLOURS * (alpha / 65535.0))
    found = read(tmp_path, png(np.dstack([COLOURS, alpha]), 6))
    np.testing.assert_array_equal(found.pixels, np.round(laid * (255 / 4095)))
    grey = read(tmp_path, png(np.dstack([RAMP, alpha]), 4))
    np.testing.assert_array_equal(
        grey.pixels[..., 0], np.round(np.round(RAMP * (alpha[..., 0] / 65535.0)) * 255 / 4095)
    )
    clear = int(RAMP[20, 20])
    keyed = read(tmp_path, png(RAMP[..., None], 0, chunk(b"tRNS", clear.to_bytes(2, "big"))))
    np.testing.assert_array_equal(keyed.pixels[..., 1], np.where(clear == RAMP, 0, EXPECTED))


@pytest.mark.parametrize("darker", [1, 4, 16])
def test_a_window_is_that_of_all_pictures(darker, tmp_path):
    """One scanner: without a window a darker image has a range of its own, and looks like a bright one."""
    expected = np.round(np.clip((RAMP // darker - 100.0) * (255 / 2900), 0, 255))
    window = images.ReadOptions(window=(1550.0, 2900.0))
    (tmp_path / "grey.png").write_bytes(png((RAMP // darker)[..., None], 0))
    (tmp_path / "colour.png").write_bytes(png(COLOURS // darker, 2))
    tags = {256: 50, 257: 40, 258: 16, 259: 1, 262: 0, 277: 1}
    (tmp_path / "white.tif").write_bytes(tiff(tags, (RAMP // darker).astype("<u2").tobytes()))
    grey, white = (images.read_picture(tmp_path / name, window) for name in ("grey.png", "white.tif"))
    assert grey.range == white.range == (100, 3000)
    assert images.read_picture(tmp_path / "grey.png").range == (0, {1: 4095, 4: 1023, 16: 255}[darker])
    np.testing.assert_array_equal(grey.pixels[..., 0], expected)
    np.testing.assert_array_equal(white.pixels[..., 0], 255 - expected)
    colours = images.read_picture(tmp_path / "colour.png", window).pixels
    np.testing.assert_array_equal(colours, np.round(np.clip((COLOURS // darker - 100.0) * (255 / 2900), 0, 255)))


@pytest.mark.parametrize("shape", [(1,), (3,)])
def test_hot_pixels_change_nothing_else(tmp_path, shape):
    values = (RAMP[..., None] if shape == (1,) else COLOURS).copy()
    before = read(tmp_path, png(values, 0 if shape == (1,) else 2))
    values[7, 9] = 65535
    after = read(tmp_path, png(values, 0 if shape == (1,) else 2))
    assert after.range == before.range == (0, 4095)
    changed = np.argwhere((after.pixels != before.pixels).any(axis=-1))
    assert changed.tolist() == [[7, 9]] and (after.pixels[7, 9] == 255).all()


def test_numbers_with_an_offset_are_stretched_between_round_numbers():
    counts = np.zeros(65536, np.int64)
    counts[31768:33768] = 5
    depth = find_depth(counts)
    assert (depth.low, depth.high, depth.notes) == (31744, 33792, ())
    assert depth.table[[0, 31744, 33792, 65535]].tolist() == [0, 0, 255, 255]
    assert len(np.unique(depth.table[31768:33768])) == 250
    counts[65535] = 1  # a hot pixel
    assert find_depth(counts)[:2] == depth[:2]


def test_few_levels_are_said():
    counts = np.zeros(65536, np.int64)
    counts[:1000] = 10
    counts[65535] = 500  # a burnt-in marker, no single pixel
    depth = find_depth(counts)
    assert (depth.low, depth.high) == (0, 65535)
    assert depth.notes == ("few levels (6 are left of 1001 between 0 and 65535)",)
    counts[:] = 0
    counts[[0, 65535]] = 10  # two levels are all there are
    assert find_depth(counts).notes == ()


@pytest.mark.parametrize("value", [0, 1, 255, 256, 65535])
def test_a_picture_of_one_value(value):
    counts = np.zeros(65536, np.int64)
    counts[value] = 4
    depth = find_depth(counts)
    assert depth.low == 0 and depth.table[value] == round(value * 255 / depth.high) and depth.notes == ()


def test_white_as_zero_is_turned_round(tmp_path):
    tags = {256: 50, 257: 40, 258: 16, 259: 1, 262: 0, 277: 1}
    found = read(tmp_path, tiff(tags, RAMP.astype("<u2").tobytes()), "x.tif")
    np.testing.assert_array_equal(found.pixels[..., 0], 255 - EXPECTED)


def test_a_picture_that_is_transparent_everywhere_is_refused(tmp_path):
    eight = np.dstack([np.full((4, 5, 3), 9, np.uint8), np.zeros((4, 5), np.uint8)])
    Image.fromarray(eight).save(tmp_path / "a.png")
    Image.fromarray(eight[..., [0, 3]]).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(png(np.dstack([COLOURS, 0 * RAMP]), 6))
    for name in "abc":
        with pytest.raises(DataError, match=rf"{name}\.png: every pixel is transparent \(alpha is 0\)"):
            images.read_image(tmp_path / f"{name}.png")


def test_16_bits_a_colour_that_cannot_be_read_right_are_refused(tmp_path):
    tags = {256: 50, 257: 40, 258: (16, 16, 16), 259: 1, 262: 2, 277: 3, 284: 2}
    planes = [COLOURS[..., k].astype("<u2").tobytes() for k in range(3)]
    with pytest.raises(DataError, match=r"planes\.tif: 16 bits a colour in separate planes"):
        read(tmp_path, tiff(tags, planes), "planes.tif")
    (tmp_path / "m.png").write_bytes(png(COLOURS // 4000, 2))
    with pytest.raises(DataError, match=r"m\.png: holds 16 bits a colour, expected a mask of 8"):
        images.read_mask(tmp_path / "m.png")


@pytest.mark.parametrize("compression", [1, 8])
def test_a_tile_counts_as_pixels(tmp_path, compression):
    tags = grey_tags(16, 16, t322=23168, t323=23168, t259=compression)
    with pytest.raises(DataError, match=r"x\.tif: 16 x 16 pixels in tiles of 23168 x 23168"):
        read(tmp_path, tiff(tags, b"x" * 9), "x.tif")
    # A small image in a tile of usual size is fine.
    tags = grey_tags(16, 16, t322=64, t323=64)
    tile = np.arange(64 * 64, dtype=np.uint8).tobytes()
    assert read(tmp_path, tiff(tags, tile), "y.tif").pixels[1, :3, 0].tolist() == [64, 65, 66]


def test_8_bits_have_no_window_and_say_so(tmp_path):
    note = "window not used (images of 8 bits a channel are shown as they are)"
    Image.fromarray(np.array([[0, 90, 255]], np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.full((2, 2), 7, np.uint8)).save(tmp_path / "b.png")
    options = images.ReadOptions(window=(50.0, 100.0))
    found = images.read_picture(tmp_path / "a.png", options)
    assert found.pixels[..., 0].tolist() == [[0, 90, 255]] and found.notes == (note,)
    assert images.read_picture(tmp_path / "a.png").notes == ()
    assert images.read_picture(tmp_path / "b.png", options).notes == (constant_note(None), note)

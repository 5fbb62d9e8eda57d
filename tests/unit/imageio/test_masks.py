"""The rules for masks, value by value."""

import io
import time

import numpy as np
import pytest
from PIL import Image, ImageFilter

from ddim_jax.imageio.masks import binary_mask, over_black, separated_levels
from ddim_jax.runtime.errors import DataError


def disk(size, centre, radius):
    rows, columns = np.mgrid[:size, :size]
    return ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2).astype(np.uint8)


def read(array_or_picture, lossy=False):
    picture = array_or_picture if isinstance(array_or_picture, Image.Image) else Image.fromarray(array_or_picture)
    return binary_mask(picture, lossy=lossy, name="m.png")


def as_jpeg(picture, quality):
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    decoded = Image.open(buffer)
    decoded.load()
    return decoded


TRUTH = disk(64, (30, 34), 17)


@pytest.mark.parametrize(
    "stored",
    [
        TRUTH * 255,
        TRUTH,
        TRUTH.astype(bool),
        TRUTH * 128,
        TRUTH + 1,
        TRUTH.astype(np.uint16) * 65535,
        TRUTH.astype(np.uint16) * 4095,
        TRUTH.astype(np.int32) * 7,
        TRUTH.astype(np.float32),
        np.repeat(TRUTH[..., None] * 255, 3, axis=-1),
        TRUTH[..., None] * np.array([255, 0, 0], np.uint8),
        np.dstack([TRUTH * 255] * 3 + [np.full_like(TRUTH, 255)]),
        np.dstack([np.full_like(TRUTH, 255)] * 3 + [TRUTH * 255]),
        np.dstack([np.zeros_like(TRUTH)] * 3 + [TRUTH * 255]),
        np.dstack([TRUTH * 255, np.full_like(TRUTH, 255)]),
    ],
    ids=[
        "0-255", "0-1", "boolean", "0-128", "1-2", "16-bit", "12-in-16-bit", "32-bit", "float", "rgb-grey",
        "red-on-black", "rgba", "white-alpha", "black-alpha", "grey-alpha",
    ],
)  # fmt: skip
def test_two_levels_of_any_kind(stored):
    np.testing.assert_array_equal(read(stored), TRUTH)


def test_palettes_go_by_brightness_when_grey_and_by_index_when_coloured():
    grey = Image.fromarray(1 - TRUTH, "P")
    grey.putpalette([255, 255, 255, 0, 0, 0])
    np.testing.assert_array_equal(read(grey), TRUTH)

    coloured = Image.fromarray(TRUTH, "P")
    coloured.putpalette([255, 255, 255, 128, 0, 0])
    np.testing.assert_array_equal(read(coloured), TRUTH)

    three = Image.fromarray(TRUTH + disk(64, (30, 34), 5), "P")
    three.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    with pytest.raises(DataError, match=r"m\.png: holds 3 well-separated levels \(0, 1, 2\)"):
        read(three)


def test_soft_edges_are_cut_at_half_of_the_range():
    row = np.array([[0] * 18 + [60, 127, 128, 200] + [255] * 18], np.uint8)
    np.testing.assert_array_equal(read(np.repeat(row, 10, axis=0)), np.repeat([[0] * 20 + [1] * 20], 10, axis=0))
    # The range need not be 0..255: here half of it is at 60.
    dim = np.repeat(np.array([[20] * 19 + [59, 61] + [100] * 19], np.uint8), 10, axis=0)
    np.testing.assert_array_equal(read(dim), np.repeat([[0] * 20 + [1] * 20], 10, axis=0))


@pytest.mark.parametrize("factor", [2, 4])
def test_anti_aliased_masks_agree_with_the_shape_they_came_from(factor):
    large = Image.fromarray(disk(64 * factor, (30 * factor, 34 * factor), 17 * factor) * 255)
    soft = large.resize((64, 64), Image.Resampling.BOX)
    expected = np.asarray(large).reshape(64, factor, 64, factor).mean(axis=(1, 3)) >= 127.5
    np.testing.assert_array_equal(read(soft), expected)


@pytest.mark.parametrize("radius", [1, 3, 6])
def test_blurred_masks_are_two_levels(radius):
    blurred = Image.fromarray(TRUTH * 255).filter(ImageFilter.GaussianBlur(radius))
    values = np.asarray(blurred, float)
    np.testing.assert_array_equal(read(blurred), values > (values.min() + values.max()) / 2)


@pytest.mark.parametrize("quality", [10, 30, 75, 95])
def test_jpeg_noise_around_two_levels_passes(quality):
    noisy = as_jpeg(Image.fromarray(TRUTH * 255), quality)
    assert len(np.unique(np.asarray(noisy))) > 10
    assert np.mean(read(noisy, lossy=True) != TRUTH) < 0.005
    # A PNG made from such a JPEG holds the same noise.
    np.testing.assert_array_equal(read(noisy), read(noisy, lossy=True))


def test_noise_around_one_level_is_an_empty_or_a_full_mask():
    noise = np.random.default_rng(0).integers(0, 9, (40, 40)).astype(np.uint8)
    assert read(noise, lossy=True).sum() == 0
    assert read(255 - noise, lossy=True).all()
    assert read(255 - noise).all()


@pytest.mark.parametrize(("value", "full"), [(0, 0), (1, 1), (255, 1), (128, 1)])
def test_constant_masks_are_empty_at_zero_and_full_elsewhere(value, full):
    np.testing.assert_array_equal(read(np.full((5, 7), value, np.uint8)), np.full((5, 7), full))


def test_label_one_in_a_jpeg_is_refused_rather_than_read_as_empty():
    with pytest.raises(DataError, match=r"m\.png: the largest value of this JPEG mask is 1.*PNG"):
        read(TRUTH, lossy=True)


@pytest.mark.parametrize("third", [64, 128, 200])
@pytest.mark.parametrize("radius", [3, 9])
def test_a_third_level_is_named(third, radius):
    mask = np.maximum(disk(96, (30, 30), 20) * np.uint8(255), disk(96, (70, 70), radius) * np.uint8(third))
    with pytest.raises(DataError, match=rf"m\.png: holds 3 well-separated levels \(0, {third}, 255\).*expected two"):
        read(mask)
    softened = np.asarray(Image.fromarray(mask).filter(ImageFilter.BoxBlur(0.5)), np.float64)
    assert radius < 9 or separated_levels(softened) == [0, third, 255]


def test_a_third_level_in_a_jpeg_and_without_an_inside():
    mask = np.maximum(disk(96, (30, 30), 20) * np.uint8(255), disk(96, (65, 65), 12) * np.uint8(128))
    with pytest.raises(DataError, match="3 well-separated levels"):
        read(as_jpeg(Image.fromarray(mask), 75), lossy=True)
    scattered = np.random.default_rng(0).choice(np.array([0, 127, 255], np.uint8), (32, 32))
    with pytest.raises(DataError, match=r"\(0, 127, 255\)"):
        read(scattered)


@pytest.mark.parametrize("factor", [1, 20, 50])
def test_label_maps_name_all_their_labels(factor):
    labels = np.repeat(np.arange(5, dtype=np.uint8) * factor, 10)[None].repeat(40, axis=0)
    with pytest.raises(DataError, match=", ".join(str(level * factor) for level in range(5))):
        read(labels)


def test_colours_that_do_not_say_which_is_the_background_are_refused():
    red_on_white = np.where(TRUTH[..., None] == 1, np.array([255, 0, 0], np.uint8), np.uint8(255))
    with pytest.raises(DataError, match=r"m\.png: holds 2 colours .*\(255, 255, 255\), \(255, 0, 0\)"):
        read(red_on_white)
    two_organs = TRUTH[..., None] * np.array([255, 0, 0], np.uint8)
    two_organs[:10, :10] = [0, 255, 0]
    with pytest.raises(DataError, match="holds 3 colours"):
        read(two_organs)


def test_nan_is_refused():
    broken = TRUTH.astype(np.float32)
    broken[3, 4] = np.nan
    with pytest.raises(DataError, match=r"m\.png: holds NaN"):
        read(broken)


def test_a_large_photograph_is_no_mask_and_is_told_soon():
    pixels = np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8)
    colours = len(np.unique(pixels.astype(np.int64) @ [65536, 256, 1]))
    began = time.process_time()
    np.sort(pixels.astype(np.int64) @ [65536, 256, 1], axis=None)
    sorting = time.process_time() - began
    with pytest.raises(DataError, match=rf"photo\.png: holds {colours} colours"):
        binary_mask(Image.fromarray(pixels), lossy=False, name="photo.png")
    assert time.process_time() - began < 10 * sorting + 0.5


def test_alpha_over_black_is_rounded_exactly():
    colours, alpha = np.mgrid[:256, :256].astype(np.uint8)
    expected = np.round(colours * (alpha / 255.0))
    laid = over_black(np.stack([colours, colours, colours, alpha], axis=-1))
    assert laid.dtype == np.uint8
    np.testing.assert_array_equal(laid, np.stack([expected] * 3, axis=-1))


@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 16), (40, 200), (150, 255)])
def test_eight_bits_have_the_levels_of_the_same_numbers_in_floating_point(low, high):
    rng = np.random.default_rng(low)
    values = np.repeat(np.repeat(rng.integers(low, high + 1, (6, 6)), 8, axis=0), 8, axis=1).astype(np.uint8)
    values[:8], values[-8:] = low, high
    levels = separated_levels(values)
    assert levels == separated_levels(values.astype(np.float64)) and len(levels) > 2

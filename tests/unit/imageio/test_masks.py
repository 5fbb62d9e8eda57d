"""The rules for masks, value by value."""

import time

import numpy as np
import pytest
from mask_pictures import TRUTH, as_jpeg, disk, read
from PIL import Image, ImageFilter

from ddim_jax.imageio.label_maps import LabelMapError
from ddim_jax.imageio.levels import separated_levels
from ddim_jax.imageio.masks import mask_of_numbers, mask_of_picture, over_black
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import DataError


@pytest.mark.parametrize(
    "stored",
    [
        TRUTH * 255,
        TRUTH,
        TRUTH.astype(bool),
        TRUTH * 128,
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
        "0-255", "0-1", "boolean", "0-128", "16-bit", "12-in-16-bit", "32-bit", "float", "rgb-grey",
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
    coloured.putpalette([0, 0, 0, 128, 0, 0])
    np.testing.assert_array_equal(read(coloured), TRUTH)

    three = Image.fromarray(TRUTH + disk(64, (30, 34), 5), "P")
    three.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    with pytest.raises(LabelMapError, match=r"m\.png: is a label map, it holds the values 0 \(3195 pixels\), 1 "):
        read(three)


def test_black_is_the_background_of_a_palette_whatever_its_index():
    red_first = Image.fromarray(1 - TRUTH, "P")
    red_first.putpalette([255, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(read(red_first), TRUTH)

    no_black = Image.fromarray(TRUTH, "P")
    no_black.putpalette([255, 255, 255, 128, 0, 0])
    with pytest.raises(DataError, match=r"none is black.*data.labels which of the indices 0, 1"):
        read(no_black)
    by_index = mask_of_picture(no_black, Labels.create(1), lossy=False, name="m.png")
    np.testing.assert_array_equal(by_index, TRUTH)


@pytest.mark.parametrize(
    ("indices", "colours"),
    [
        (TRUTH, [0, 0, 0, 0, 0, 0]),
        (TRUTH, [0, 0, 0]),  # a palette that ends early
        (TRUTH + disk(64, (30, 34), 5), [0, 0, 0, 255, 255, 255, 255, 255, 255]),
        (TRUTH + disk(64, (30, 34), 5), [0, 0, 0, 0, 0, 0, 255, 255, 255]),
        (TRUTH, [255, 0, 0, 255, 0, 0]),
        (np.ones_like(TRUTH), [0, 0, 0, 0, 0, 0]),
    ],
)
def test_indices_of_one_colour_are_a_label_map(indices, colours):
    alike = Image.fromarray(indices, "P")
    alike.putpalette(colours)
    with pytest.raises(LabelMapError) as refused:
        read(alike)
    assert refused.value.counts == {int(value): int((indices == value).sum()) for value in np.unique(indices)}
    labels = Labels.create({"a": 1, "b": 2})
    np.testing.assert_array_equal(mask_of_picture(alike, labels, lossy=False, name="m.png"), indices)


@pytest.mark.parametrize("channels", [1, 3])
def test_alpha_that_is_the_same_everywhere_says_nothing(channels):
    def with_alpha(values, alpha):
        return np.dstack([values] * channels + [np.full_like(values, alpha)])

    for mask in (TRUTH * 255, np.zeros_like(TRUTH)):
        with pytest.raises(DataError, match=r"m\.png: every pixel is transparent .*Save it without alpha"):
            read(with_alpha(mask, 0))
    np.testing.assert_array_equal(read(with_alpha(TRUTH * 255, 1)), TRUTH)
    numbers, labels = TRUTH + disk(64, (30, 34), 5), Labels.create({"a": 1, "b": 2})
    half = Image.fromarray(with_alpha(numbers, 128))
    np.testing.assert_array_equal(mask_of_picture(half, labels, lossy=False, name="m.png"), numbers)


def test_exact_values_that_are_transparent_in_part_are_refused():
    numbers, labels = 2 * TRUTH, Labels.create({"a": 1, "b": 2})
    for alpha, partly in ((np.where(TRUTH, 255, 0), 0), (np.where(TRUTH, 128, 255), TRUTH.sum())):
        picture = Image.fromarray(np.dstack([numbers, alpha.astype(np.uint8)]))
        if partly:
            with pytest.raises(DataError, match=rf"m\.png: {partly} pixels are transparent in part, and data.labels"):
                mask_of_picture(picture, labels, lossy=False, name="m.png")
        else:
            np.testing.assert_array_equal(mask_of_picture(picture, labels, lossy=False, name="m.png"), numbers)


def test_soft_edges_are_cut_at_half_of_the_range():
    row = np.array([[0] * 18 + [60, 127, 128, 200] + [255] * 18], np.uint8)
    np.testing.assert_array_equal(read(np.repeat(row, 10, axis=0)), np.repeat([[0] * 20 + [1] * 20], 10, axis=0))
    # The range need not be 0..255: here half of it is at 60.
    dim = np.repeat(np.array([[20] * 19 + [59, 61] + [100] * 19], np.uint8), 10, axis=0)
    np.testing.assert_array_equal(read(dim), np.repeat([[0] * 20 + [1] * 20], 10, axis=0))


def test_an_image_in_the_place_of_a_mask_is_refused():
    """Copied into masks/, radiographs were cut at half of their range."""
    shade = 127.5 + 127.5 * np.sin(np.indices((60, 80)).sum(axis=0) / 9)  # .59 of a sine lie within a tenth of its ends
    radiograph = np.uint8(np.round(shade))
    inside = np.mean((radiograph > 25.5) & (radiograph < 229.5))
    assert 0.5 < inside < 0.7
    for values in (radiograph, radiograph.astype(np.uint16) * 257):
        with pytest.raises(DataError, match=r"m\.png: more than half of its pixels lie between .* looks like an image"):
            mask_of_numbers(values, name="m.png")
    for lossy in (False, True):
        with pytest.raises(DataError, match="looks like an image, not a mask"):
            read(radiograph, lossy)
    # Soft edges are no image, be they as wide as the structure: a cone on black.
    cone = np.uint8(np.clip(255 - 10 * np.hypot(*(np.indices((80, 80)) - 39.5)), 0, 255))
    assert read(cone).sum() == np.count_nonzero(cone > cone.max() / 2)


def test_the_edge_of_something_brighter_is_refused():
    """Half of what is there is not half of the scale that the rest of the structure would show."""
    line = np.zeros((40, 60), np.uint8)
    line[20, 20:40] = np.linspace(20, 90, 20)
    tail = np.where(disk(64, (30, 30), 6), 1.0, 0.0) * np.linspace(0, 1.2, 64)
    for values, high in ((line, 90), (line.astype(np.uint16) * 257, 23130), (line / 10.0, 9)):
        with pytest.raises(DataError, match=rf"m\.png: its values go up to {high} and no 3 x 3 pixels agree on that"):
            mask_of_numbers(values, name="m.png")
    grey = Image.fromarray(line, "P")
    grey.putpalette([level for level in range(256) for _ in range(3)])
    with pytest.raises(DataError, match="its values go up to 90"):
        read(grey)
    for lossy in (False, True):
        with pytest.raises(DataError, match="its values go up to 90"):
            read(line, lossy)
    inside = line.copy()
    inside[2:8, 2:8] = 90  # of a mask of 0 and 90
    np.testing.assert_array_equal(read(inside), inside > 45)
    np.testing.assert_array_equal(read(np.where(line, 90, 0).astype(np.uint8)), line > 0)  # two exact levels
    np.testing.assert_array_equal(
        mask_of_numbers(tail, name="m"), tail > 0.5
    )  # shares of a pixel, whatever the largest


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
    with pytest.raises(LabelMapError, match=rf"m\.png: is a label map.* 0 \(.*, {third} \(.*, 255 \(") as refused:
        read(mask)
    assert refused.value.counts == {value: int((mask == value).sum()) for value in (0, third, 255)}
    softened = np.asarray(Image.fromarray(mask).filter(ImageFilter.BoxBlur(0.5)), np.float64)
    assert radius < 9 or separated_levels(softened) == [0, third, 255]


def test_a_third_level_in_a_jpeg_and_without_an_inside():
    mask = np.maximum(disk(96, (30, 30), 20) * np.uint8(255), disk(96, (65, 65), 12) * np.uint8(128))
    with pytest.raises(DataError, match="3 well-separated levels"):
        read(as_jpeg(Image.fromarray(mask), 75), lossy=True)
    scattered = np.random.default_rng(0).choice(np.array([0, 127, 255], np.uint8), (32, 32))
    with pytest.raises(DataError, match=r"\(0, 127, 255\)"):
        read(scattered)


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
        mask_of_picture(Image.fromarray(pixels), lossy=False, name="photo.png")
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

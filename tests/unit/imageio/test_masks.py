"""The rules for masks, value by value."""

import io
import time

import numpy as np
import pytest
from PIL import Image, ImageFilter

from ddim_jax.imageio.label_maps import LabelMapError, describe_label_maps
from ddim_jax.imageio.levels import separated_levels
from ddim_jax.imageio.masks import mask_of_numbers, mask_of_picture, over_black
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import DataError


def disk(size, centre, radius):
    rows, columns = np.mgrid[:size, :size]
    return ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2).astype(np.uint8)


def read(array_or_picture, lossy=False):
    picture = array_or_picture if isinstance(array_or_picture, Image.Image) else Image.fromarray(array_or_picture)
    return mask_of_picture(picture, lossy=lossy, name="m.png")


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


@pytest.mark.attack("16.4")
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


@pytest.mark.parametrize("factor", [1, 20, 50])
def test_label_maps_name_all_their_labels(factor):
    labels = np.repeat(np.arange(5, dtype=np.uint8) * factor, 10)[None].repeat(40, axis=0)
    with pytest.raises(DataError, match=", ".join(rf"{level * factor} \(400 pixels\)" for level in range(5))):
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


def stored(*regions):
    """A 40 x 40 label map with a 10 x 10 square of each value, side by side, on 0."""
    mask = np.zeros((40, 40), np.uint8)
    for place, value in enumerate(regions):
        mask[10:20, 10 * place : 10 * place + 10] = value
    return mask


@pytest.mark.parametrize(
    "values",
    [(1, 255), (1, 2, 255), (1, 20), (1, 2), (128, 255), (100, 200), (85, 170, 255), (7, 8, 9, 250)],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_few_exact_values_are_a_label_map(values, dtype):
    with pytest.raises(
        LabelMapError, match=r"m\.png: is a label map.*--config.data.labels=.*--config.data.ignore="
    ) as error:
        mask_of_numbers(stored(*values).astype(dtype), name="m.png")
    assert error.value.counts == {0: 1600 - 100 * len(values), **dict.fromkeys(values, 100)}


def test_two_values_without_zero_are_a_label_map_and_one_value_is_none():
    for pair in ((1, 2), (1, 20), (100, 200)):
        with pytest.raises(LabelMapError):
            read(np.where(TRUTH == 1, *pair).astype(np.uint8))
    for value in (1, 2, 255):
        np.testing.assert_array_equal(read(stored(value)), stored(1))


def test_small_labels_without_an_inside_are_found_beside_a_high_one():
    mask = stored(255)
    mask[30, ::2] = 1  # single pixels
    with pytest.raises(LabelMapError, match=r"1 \(20 pixels\), 255 \(100 pixels\)"):
        read(mask)


def test_a_label_map_is_read_by_value():
    mask = stored(1, 2, 7, 255)
    labels = Labels.create({"lung": [1, 2], "heart": 7}, ignore=255)
    np.testing.assert_array_equal(mask_of_numbers(mask, labels, name="m.png"), stored(1, 1, 2, 255))
    np.testing.assert_array_equal(mask_of_numbers(mask.astype(np.float64), labels, name="m"), stored(1, 1, 2, 255))
    one = Labels.create({"heart": 7, "background": [1, 2]}, ignore=255)
    np.testing.assert_array_equal(mask_of_numbers(mask, one, name="m.png"), stored(0, 0, 1, 255))
    overlapping = Labels.create({"lung": [1, 7], "heart": [2, 7]}, ignore=255, multilabel=True)
    np.testing.assert_array_equal(mask_of_numbers(mask, overlapping, name="m.png"), stored(1, 2, 3, 255))
    coloured = Image.fromarray(mask, "P")
    coloured.putpalette([255, 255, 255] * 256)
    np.testing.assert_array_equal(mask_of_picture(coloured, labels, lossy=False, name="m.png"), stored(1, 1, 2, 255))


def test_values_that_no_label_has_are_refused_by_name():
    labels = Labels.create({"lung": 1}, ignore=255)
    with pytest.raises(
        DataError, match=r"m\.png: holds the values 2 \(100 pixels\), 9 \(100 pixels\).*they have 0, 1, 255"
    ):
        mask_of_numbers(stored(1, 2, 9, 255), labels, name="m.png")
    with pytest.raises(DataError, match=r"holds the values 0\.5 "):
        mask_of_numbers(stored(1) / 2, labels, name="m.png")
    with pytest.raises(DataError, match="is a JPEG, which does not keep exact values"):
        mask_of_numbers(stored(1), labels, lossy=True, name="m.png")


def test_ignored_values_alone_leave_two_levels():
    only_ignored = Labels.create(ignore=(255,))
    np.testing.assert_array_equal(mask_of_numbers(stored(1, 255), only_ignored, name="m"), stored(1, 255))
    with pytest.raises(LabelMapError, match=r"1 \(100 pixels\), 2 \(100 pixels\), 255"):
        mask_of_numbers(stored(1, 2, 255), only_ignored, name="m")


@pytest.mark.parametrize("dtype", [np.int16, np.float64])
@pytest.mark.parametrize("values", [(-1, 0), (-1, 0, 1), (-1, 0, 1, 2), (-1, 255), (-1,), (-2, -1)])
def test_a_negative_value_is_refused_and_can_be_ignored(values, dtype):
    mask = np.repeat(values, 12).reshape(-1, 12).astype(dtype)
    with pytest.raises(LabelMapError, match=rf"values {values[0]} \(12 pixels\).*--config\.data\.ignore={values[0]} "):
        mask_of_numbers(mask, name="m.nii")
    if values == (-1, 0, 1):
        with pytest.raises(LabelMapError, match="values -1"):
            mask_of_numbers(mask, Labels.create(ignore=7), name="m.nii")
        assert mask_of_numbers(mask, Labels.create(ignore=-1), name="m.nii")[:, 0].tolist() == [255, 0, 1]
        labels = Labels.create({"a": 1, "background": -1})
        assert mask_of_numbers(mask, labels, name="m.nii")[:, 0].tolist() == [0, 0, 1]


def test_negative_fractions_are_no_mask():
    with pytest.raises(DataError, match=r"m\.nii: holds values from -0\.5 to 1, expected 0 and one other"):
        mask_of_numbers(np.array([[-0.5, 0.0, 1.0]]), name="m.nii")


def test_label_maps_of_a_data_set_are_described_once():
    errors = [LabelMapError("a.png", {0: 10, 1: 5, 255: 1}), LabelMapError("b.png", {0: 8, 2: 8})]
    text = describe_label_maps(errors, 7)
    assert text.startswith("2 of 7 masks are label maps, with the values 0 (18 pixels in 2 of them, such as a.png), ")
    assert "2 (8 pixels in 1 of them, such as b.png)" in text
    assert text.count("--config.data.labels=") == 1 and "--config.data.ignore=255" in text

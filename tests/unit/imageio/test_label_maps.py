"""Masks of few exact values: label maps, read by the labels given or refused with their values."""

import numpy as np
import pytest
from mask_pictures import TRUTH, read
from PIL import Image

from ddim_jax.imageio.label_maps import LabelMapError, describe_label_maps
from ddim_jax.imageio.masks import mask_of_numbers, mask_of_picture
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import DataError


@pytest.mark.parametrize("factor", [1, 20, 50])
def test_label_maps_name_all_their_labels(factor):
    labels = np.repeat(np.arange(5, dtype=np.uint8) * factor, 10)[None].repeat(40, axis=0)
    with pytest.raises(DataError, match=", ".join(rf"{level * factor} \(400 pixels\)" for level in range(5))):
        read(labels)


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

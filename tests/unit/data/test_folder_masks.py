"""Masks of a folder: numbered ones that are united, label maps, copies of images, and sets whose masks do not agree."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from clinic_files import WINDOW, volume
from dicom_files import ct_slice
from loaded_arrays import load_arrays
from pair_files import save, save_pair, write_splits
from PIL import Image

from ddim_jax.data import Selection, check_source, load_dataset, load_selections
from ddim_jax.data.masks import united
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import DataError


def test_label_maps_are_told_together_and_read_by_the_labels_given(tmp_path):
    for number in range(3):
        save_pair(tmp_path / f"images/{number}.png", tmp_path / f"masks/{number}.png", number)
        stored = np.zeros((12, 10), np.uint8)
        stored[:4, :5], stored[4:8, :5], stored[8:] = 1, 2, 255
        save(tmp_path / f"masks/{number}.png", stored)
    write_splits(tmp_path, train=range(3))
    with pytest.raises(DataError) as error:
        load_arrays(load_dataset("folder", "train", root=tmp_path), 8)
    text = str(error.value)
    assert "3 of 3 masks are label maps" in text and text.count("data.labels=") == 1
    assert "255 (120 pixels in 3 of them, such as " in text

    labels = Labels.create({"left": 1, "right": 2}, ignore=255)
    masks = load_arrays(load_dataset("folder", "train", root=tmp_path, labels=labels), 12).masks
    assert np.unique(masks).tolist() == [0, 1, 2, 255]


def test_masks_of_classes_are_united_where_they_agree():
    a, b = Path("a.png"), Path("b.png")
    classes, overlapping = (Labels.create({"x": 1, "y": 2}, multilabel=multi) for multi in (False, True))
    one, other = np.array([[0, 1, 0, 255, 255, 1, 0]], np.uint8), np.array([[0, 1, 2, 2, 0, 255, 255]], np.uint8)
    assert united({a: one}, classes).tolist() == one.tolist()
    for masks in ({a: one, b: other}, {b: other, a: one}):
        assert united(masks, classes).tolist() == [[0, 1, 2, 2, 255, 1, 255]]
        assert united(masks, overlapping).tolist() == [[0, 1, 2, 2, 255, 1, 255]]
    clash = np.array([[2, 2, 0, 0, 0, 0, 0]], np.uint8)
    with pytest.raises(DataError, match=r"a\.png and b\.png give pixels different classes"):
        united({a: one, b: clash}, classes)
    assert united({a: one, b: clash}, overlapping).tolist() == [[2, 3, 0, 255, 255, 1, 0]]


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.dcm", "x.nii.gz"])
def test_a_copy_of_its_image_is_no_mask(tmp_path, name):
    """A bright photograph: most of its pixels lie near the ends of its range, so its values pass for a soft mask."""
    slope = np.clip(np.mgrid[-300:556:40j, :30][0], 0, 255)
    copied = tmp_path / "images" / name
    copied.parent.mkdir()
    if name.endswith(".dcm"):
        ct_slice(copied, slope.astype(np.int16) + 1, **WINDOW)
    elif name.endswith(".nii.gz"):
        volume(copied, np.repeat(slope[..., None], 3, axis=-1).astype(np.uint8))
    else:
        save(copied, slope.astype(np.uint8))
    save_pair(tmp_path / "images/good.png", tmp_path / "masks/good.png", 1)
    shutil.copy(copied, tmp_path / "masks" / name)
    source = load_dataset("folder", "all", root=tmp_path)
    with pytest.raises(DataError, match=rf"masks/{name}: is a copy of its image .*images/{name}; put the mask in its"):
        list(source)


def test_an_image_of_two_levels_may_be_its_own_mask(tmp_path):
    save_pair(tmp_path / "images/a.png", tmp_path / "masks/a.png", 3)
    shutil.copy(tmp_path / "masks/a.png", tmp_path / "images/a.png")
    (example,) = load_dataset("folder", "all", root=tmp_path)
    np.testing.assert_array_equal(example.mask * 255, example.image[..., 0])


def _palette(index, colour):
    picture = Image.fromarray(np.repeat([0, index], 60).reshape(12, 10).astype(np.uint8), "P")
    picture.putpalette([*([0] * (3 * index)), *colour])
    return picture


GREY = [Image.fromarray(np.repeat([0, value], 60).reshape(12, 10).astype(np.uint8)) for value in (1, 2, 3, 255)]
RED, GREEN = ([*(0 if k != channel else 200 for k in range(3))] for channel in (0, 1))


@pytest.mark.parametrize(
    ("masks", "told"),
    [
        (
            GREY[:3],
            r"1 \(60 pixels in 1 of them, such as .*0\.png\), 2 \(60 .*, 3 \(60 .*1, \"NAME2\": 2, \"NAME3\": 3",
        ),
        ([GREY[0], GREY[0], GREY[3]], r"1 \(120 pixels in 2 of them, .*, 255 \(.*2\.png\).*\"NAME\": \[1, 255\]"),
        ([GREY[0], Image.fromarray(np.full((12, 10), 3, np.uint8))], r"1 \(60 .*, 3 \(120 pixels"),
        ([_palette(1, RED), _palette(2, GREEN)], r"2 of the colour \(0, 200, 0\) .*1 of the colour \(200, 0, 0\)"),
        (
            [_palette(1, RED).convert("RGB"), _palette(1, GREEN).convert("RGB")],
            r"the colour \(0, .*save the masks as grey",
        ),
    ],
)
def test_masks_of_one_class_each_are_not_merged_in_silence(tmp_path, masks, told):
    for number, one in enumerate(masks):
        save_pair(tmp_path / f"images/{number}.png", tmp_path / f"masks/{number}.png")
        one.save(tmp_path / f"masks/{number}.png")
    source = load_dataset("folder", "all", root=tmp_path)
    with pytest.raises(DataError, match=rf"{len(masks)} masks have one value each.* not the same: {told}"):
        check_source(source)
    if masks[0] in GREY:
        check_source(load_dataset("folder", "all", root=tmp_path, labels=Labels.create([1, 2, 3, 255])))


def test_masks_without_a_value_of_their_own_go_with_all(tmp_path):
    soft = Image.fromarray(np.array([[0] * 5 + [edge] + [255] * 4 for edge in range(60, 180, 10)], np.uint8))
    empty = Image.fromarray(np.zeros((12, 10), np.uint8))
    for number, one in enumerate([GREY[0], soft, empty, GREY[0].point(lambda v: 255 * v).convert("1")]):
        save_pair(tmp_path / f"images/{number}.png", tmp_path / f"masks/{number}.png")
        one.save(tmp_path / f"masks/{number}.png")
    check_source(load_dataset("folder", "all", root=tmp_path))


@pytest.mark.parametrize("mode", ["P", "RGB", "RGBA"])
def test_masks_of_one_colour_on_black_go_together_and_with_no_others(tmp_path, mode):
    for number in range(3):
        save_pair(tmp_path / f"images/{number}.png", tmp_path / f"masks/{number}.png")
        (_palette(2, RED) if number else _palette(1, RED)).convert(mode).save(tmp_path / f"masks/{number}.png")
    (arrays,) = load_selections([Selection(load_dataset("folder", "all", root=tmp_path), [0, 1, 2])], 12)
    assert (arrays.masks.mean(axis=(1, 2)) == 0.5).all() and set(np.unique(arrays.masks)) == {0, 1}
    GREY[0].save(tmp_path / "masks/2.png")
    with pytest.raises(DataError, match=r"have one value each besides the background, and not the same"):
        check_source(load_dataset("folder", "all", root=tmp_path))

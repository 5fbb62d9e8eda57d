"""Masks are paired with the images of a folder, and a file that stays alone is named."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from absl import logging
from pair_files import mask, picture, save, save_pair

from ddim_jax.data import load_dataset
from ddim_jax.data.datasets.folder import find_pairs
from ddim_jax.data.discovery import match_pairs
from ddim_jax.runtime.errors import DataError


def stems_of(root):
    return {pair.id: [pair.mask.name, *(file.name for file in pair.more_masks)] for pair in find_pairs(root)}


@pytest.mark.parametrize("numbered", ["_mask_1", "_mask1", "_mask (1)", "-seg-2", "_1_mask", "_1", " (1)"])
def test_numbered_masks_of_one_picture_are_united_and_said_once(tmp_path, monkeypatch, numbered):
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
    for name in ("benign (1)", "benign (4)", "x_mask"):
        save(tmp_path / f"images/{name}.png", picture(1))
        save(tmp_path / f"masks/{name}_mask.png", mask(2))
    other = np.flipud(mask(3)).copy()
    save(tmp_path / f"masks/benign (4){numbered}.png", other)
    assert stems_of(tmp_path) == {
        "benign (1)": ["benign (1)_mask.png"],
        "benign (4)": ["benign (4)_mask.png", f"benign (4){numbered}.png"],
        "x_mask": ["x_mask_mask.png"],
    }
    (line,) = said
    assert "1 image has numbered masks, which are united (benign (4)_mask.png + " in line
    source = load_dataset("folder", "all", root=tmp_path)
    np.testing.assert_array_equal(source[1].mask, np.maximum(mask(2), other) // 255)
    np.testing.assert_array_equal(source[0].mask, mask(2) // 255)
    assert source.count_pixels(1) == 3 * 120


def test_masks_that_all_have_numbers_and_one_of_another_size(tmp_path):
    for name in ("a", "b", "c"):
        save(tmp_path / f"images/{name}.png", picture(1))
    for name in ("a_mask_1", "a_mask_2", "a_mask_10", "b_mask_1", "c"):
        save(tmp_path / f"masks/{name}.png", mask(2))
    masks = {"a": ["a_mask_1.png", "a_mask_10.png", "a_mask_2.png"], "b": ["b_mask_1.png"], "c": ["c.png"]}
    assert stems_of(tmp_path) == masks
    save(tmp_path / "masks/a_mask_2.png", mask(2, (12, 11)))
    with pytest.raises(DataError, match=r"its mask .*a_mask_2\.png is 11 x 12; expected the same size"):
        load_dataset("folder", "all", root=tmp_path)[0]


def test_a_mask_of_a_missing_picture_is_not_a_second_one_of_another(tmp_path):
    for name in ("scan", "scan_1"):
        save_pair(tmp_path / f"images/{name}.png", tmp_path / f"masks/{name}.png")
    save(tmp_path / "masks/scan_2.png", mask(1))
    with pytest.raises(DataError, match=r"scan_2\.png has no image"):
        find_pairs(tmp_path)


def test_names_pair_up_composed_and_decomposed(tmp_path):
    save_pair(tmp_path / "images/Mu\u0308ller.png", tmp_path / "masks/M\u00fcller_mask.png", 1)
    save_pair(tmp_path / "images/b.png", tmp_path / "masks/b.png", 2)
    assert list(stems_of(tmp_path)) == ["M\u00fcller", "b"]


def test_files_without_a_partner_are_all_named(tmp_path):
    save_pair(tmp_path / "images/both.png", tmp_path / "masks/both.png")
    save(tmp_path / "images/alone.png", picture(1))
    save(tmp_path / "masks/lonely_mask.png", mask(1))
    save(tmp_path / "images/both.jpg", picture(1))
    with pytest.raises(DataError) as error:
        load_dataset("folder", "train", root=tmp_path)
    message = str(error.value)
    assert "3 files" in message
    assert f"{tmp_path}/images/alone.png has no mask" in message
    assert f"{tmp_path}/masks/lonely_mask.png has no image" in message
    assert f"{tmp_path}/images/both.jpg and {tmp_path}/images/both.png are both images of both" in message


def test_more_than_ten_problems_are_counted(tmp_path):
    for number in range(25):
        save(tmp_path / f"images/{number:02d}.png", picture(number))
    save(tmp_path / "masks/00.png", mask(0))
    with pytest.raises(DataError) as error:
        load_dataset("folder", "train", root=tmp_path)
    assert "24 files" in str(error.value)
    assert str(error.value).count("has no mask") == 10
    *_, more, doctor = error.value.args
    assert more == "  ... and 14 more"
    assert doctor == f"`ddim-jax doctor --data {tmp_path}` checks the other pairs as well"
    with pytest.raises(DataError) as error:  # as doctor itself asks
        load_dataset("folder", "all", root=tmp_path)
    assert error.value.args[-1] == more


def test_files_without_a_partner_of_both_folders_are_shown(tmp_path):
    for number in range(12):
        save_pair(tmp_path / f"images/{number:02d}.png", tmp_path / f"masks/{number:02d}_gt.png", number)
    with pytest.raises(DataError, match="24 files") as error:
        find_pairs(tmp_path)
    assert str(error.value).count("has no mask") == str(error.value).count("_gt.png has no image") == 5


def test_two_names_that_look_alike_are_told_apart():
    composed, apart = (Path("images", unicodedata.normalize(form, "L\u00e4sion.png")) for form in ("NFC", "NFD"))
    _, (problem, *_) = match_pairs([(composed.stem, composed), (apart.stem, apart)], [])
    assert problem.endswith("(their accents are stored in two ways, NFC and NFD; rename one)")
    _, (problem, *_) = match_pairs([("a", Path("images/a.png")), ("a", Path("images/a.jpg"))], [])
    assert problem.endswith("both images of a")

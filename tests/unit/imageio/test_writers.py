"""The writers of this package, pixel by pixel."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ddim_jax.imageio.images import read_mask
from ddim_jax.imageio.writers.overlay import draw_overlay
from ddim_jax.imageio.writers.probability import save_map
from ddim_jax.inference import Segmentation
from ddim_jax.labels import Labels
from ddim_jax.registry import WRITERS

CONTEXT = SimpleNamespace(labels=Labels())
COLOUR = np.array([0, 255, 170])


def test_outline_tint_and_untouched_outside():
    image = np.full((9, 9, 3), 100, np.uint8)
    mask = np.zeros((9, 9), np.uint8)
    mask[2:7, 2:7] = 1
    result = draw_overlay(image, mask)
    inner = np.zeros((9, 9), bool)
    inner[3:6, 3:6] = True
    np.testing.assert_array_equal(result[mask == 0], np.full((81 - 25, 3), 100))
    np.testing.assert_array_equal(result[(mask == 1) & ~inner], np.tile(COLOUR, (16, 1)))
    # 0.88 * 100 + 0.12 * colour, rounded
    np.testing.assert_array_equal(result[inner], np.tile([88, 119, 108], (9, 1)))
    assert result.dtype == np.uint8 and (image == 100).all()


def test_no_outline_where_the_picture_ends():
    mask = np.zeros((8, 8), np.uint8)
    mask[:, :4] = 1
    result = draw_overlay(np.zeros((8, 8, 3), np.uint8), mask)
    assert (result[:, 3] == COLOUR).all()
    assert not (result[:, :3] == COLOUR).all(axis=-1).any()


def test_outline_grows_with_the_picture():
    mask = np.zeros((1024, 1024), np.uint8)
    mask[100:900, 100:900] = 1
    result = draw_overlay(np.zeros((1024, 1024, 3), np.uint8), mask)
    assert (result[500, 100:104] == COLOUR).all() and not (result[500, 104] == COLOUR).all()


def test_empty_mask_leaves_the_picture():
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(draw_overlay(image, np.zeros((5, 6), np.uint8)), image)


def test_each_writer_writes_its_part_of_the_result(tmp_path):
    values = np.array([[0, 0.25], [0.5, 1.0]], np.float32)
    result = Segmentation(np.array([[0, 1], [1, 0]], np.uint8), values, values / 2, 0.25)
    image = np.full((2, 2, 3), 9, np.uint8)
    written = {}
    for kind in ("mask", "overlay", "probability", "uncertainty"):
        writer = WRITERS.get(kind)
        path = tmp_path / f"{kind}{writer.suffix}"
        writer().write(path, result, image, Path("/in/a.png"), CONTEXT)
        with Image.open(path) as picture:
            written[kind] = picture.mode, np.asarray(picture)
    assert {kind: mode for kind, (mode, _) in written.items()} == {
        "mask": "L",
        "overlay": "RGB",
        "probability": "I;16",
        "uncertainty": "I;16",
    }
    np.testing.assert_array_equal(written["mask"][1], [[0, 255], [255, 0]])
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), result.mask)
    np.testing.assert_array_equal(written["probability"][1], [[0, 16384], [32768, 65535]])
    np.testing.assert_array_equal(written["uncertainty"][1], [[0, 8192], [16384, 32768]])
    np.testing.assert_array_equal(written["overlay"][1], draw_overlay(image, result.mask))


@pytest.mark.parametrize("values", [[[0.0, np.nan]], [[0.0, 1.5]], [[-0.2, 1.0]], [0.5]])
def test_maps_that_would_be_spoilt_are_refused(tmp_path, values):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        save_map(tmp_path / "p.png", np.array(values, np.float32))
    assert list(tmp_path.iterdir()) == []


def test_several_classes_are_numbers_with_a_palette_and_read_back(tmp_path):
    labels = Labels.create({"lung": 1, "heart": 2})
    probability = np.array([[[0.7, 0.1], [0.1, 0.6]], [[0.2, 0.2], [0.9, 0.0]]], np.float32)
    result = Segmentation(np.array([[1, 2], [0, 1]], np.uint8), probability, probability[..., 0] / 2, 0.25)
    image, context = np.full((2, 2, 3), 9, np.uint8), SimpleNamespace(labels=labels)
    for kind in ("mask", "probability", "overlay"):
        WRITERS.get(kind)().write(tmp_path / f"{kind}.png", result, image, Path("/in/a.png"), context)
    with Image.open(tmp_path / "mask.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), result.mask)
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB"))[0], [[86, 180, 233], [230, 159, 0]])
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", labels), result.mask)
    with Image.open(tmp_path / "probability.png") as picture:
        maps = np.asarray(picture) / 65535
    np.testing.assert_allclose(maps, np.concatenate([probability[..., 0], probability[..., 1]], axis=1), atol=1e-5)
    overlay = np.asarray(Image.open(tmp_path / "overlay.png"))
    assert overlay[1, 0].tolist() == [9, 9, 9] and len(np.unique(overlay.reshape(-1, 3), axis=0)) == 3


def test_overlapping_classes_are_written_as_bits(tmp_path):
    labels = Labels.create({"lung": [1, 3], "heart": [2, 3]}, multilabel=True)
    result = Segmentation(np.array([[0, 1], [2, 3]], np.uint8), np.zeros((2, 2, 2)), np.zeros((2, 2)), 0.0)
    WRITERS.get("mask")().write(tmp_path / "m.png", result, None, Path("a"), SimpleNamespace(labels=labels))
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", labels), result.mask)

"""Structures that are erased: what takes their place, and where nothing can."""

import numpy as np
import pytest

from ddim_jax.data import Example
from ddim_jax.data.erased import ERASED, REPAIRED, _harmonic, find_repair, replaced
from ddim_jax.labels import IGNORED

SIDE = 48
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
PLANE = np.stack([60 + 2 * ROWS, 80 + COLUMNS, 100 + ROWS + COLUMNS], axis=-1).astype(np.uint8)
DISC = (ROWS - 20) ** 2 + (COLUMNS - 14) ** 2 <= 36


def pair(structure=DISC, image=PLANE, **more):
    image = np.where(structure[..., None], np.array([250, 0, 250], np.uint8), image)
    return Example("x", image, structure.astype(np.uint8), **more)


def test_a_linear_border_is_continued_linearly_and_a_square_as_by_hand():
    values = np.where(DISC[..., None], 0.0, PLANE.astype(float))
    np.testing.assert_allclose(_harmonic(values, DISC), PLANE, atol=1e-9)
    # Two unknowns beside each other: a = (3 x 0 + b) / 4 and b = (3 x 15 + a) / 4 give a = 3 and b = 12.
    inner = np.zeros((3, 4), bool)
    inner[1, 1:3] = True
    border = np.zeros((3, 4, 1))
    border[0, 2] = border[2, 2] = border[1, 3] = 15.0
    np.testing.assert_allclose(_harmonic(border, inner)[1, 1:3, 0], [3.0, 12.0])
    # At the edge of the image a pixel has three neighbours: a = (0 + 6 + 12) / 3.
    corner = np.array([[0.0, 99.0, 6.0], [1.0, 12.0, 1.0]])[..., None]
    assert _harmonic(corner, np.array([[0, 1, 0], [0, 0, 0]], bool))[0, 1, 0] == pytest.approx(6.0)


@pytest.mark.parametrize("seed", range(4))
def test_an_erased_plane_is_the_plane_wherever_the_part_was_copied_from(seed):
    """Any part of a plane, mirrored or not, differs from any other by a linear function, which is harmonic."""
    example = pair()
    erased = find_repair(example, 5, side=SIDE, seed=seed, mark=ERASED).of(example)
    assert np.abs(erased.image.astype(int) - PLANE).max() <= 1  # a rounding
    assert erased.mask.shape == (SIDE, SIDE) and not erased.mask.any()


def test_texture_is_copied_and_the_rest_of_the_picture_stays():
    noise = np.random.default_rng(0).integers(-20, 21, (SIDE, SIDE, 1))
    example = pair(image=(PLANE + noise).astype(np.uint8))
    erased = find_repair(example, 0, side=SIDE, seed=0, mark=ERASED).of(example)
    inside, far = DISC, (ROWS - 20) ** 2 + (COLUMNS - 14) ** 2 > 81
    np.testing.assert_array_equal(erased.image[far], example.image[far])
    left = erased.image[inside].astype(float) - PLANE[inside]
    assert 8 < left.std() < 16  # the noise has 11.8


def test_structures_at_the_edge_of_the_picture_leave_nothing():
    structure = (ROWS < 8) & (COLUMNS > 16) & (COLUMNS < 30)
    example = pair(structure)
    erased = find_repair(example, 0, side=SIDE, seed=0, mark=ERASED).of(example)
    assert np.abs(erased.image.astype(int) - PLANE).max() < 40  # the structure differs by more than 60 in every channel


def test_every_structure_is_erased_and_what_is_ignored_stays_and_is_not_copied():
    other = (ROWS - 38) ** 2 + (COLUMNS - 36) ** 2 <= 16
    ignored = COLUMNS > 44
    masks = (DISC | other).astype(np.uint8) + 2 * other.astype(np.uint8)
    masks[ignored] = IGNORED
    image = np.where(ignored[..., None], np.array([10, 200, 10], np.uint8), pair(DISC | other).image)
    example = Example("x", image, masks, annotators=np.stack([masks, np.where(DISC, 0, masks)]).astype(np.uint8))
    for seed in range(3):
        erased = find_repair(example, 0, side=SIDE, seed=seed, mark=ERASED).of(example)
        np.testing.assert_array_equal(erased.mask, np.where(ignored, IGNORED, 0))
        np.testing.assert_array_equal(erased.annotators, np.stack([erased.mask] * 2))
        assert np.abs(erased.image[~ignored].astype(int) - PLANE[~ignored]).max() <= 1


def test_beside_the_structures_a_part_of_their_form_is_replaced():
    noise = np.random.default_rng(1).integers(-20, 21, (SIDE, SIDE, 1))
    example = pair(image=(PLANE + noise).astype(np.uint8))
    for seed in range(3):
        repaired = find_repair(example, 2, side=SIDE, seed=seed, mark=REPAIRED).of(example)
        np.testing.assert_array_equal(repaired.mask, example.mask)
        changed = (repaired.image != example.image).any(axis=-1)
        assert not (changed & DISC).any() and 60 < changed.sum() < 200  # the disc has 113 pixels


def test_nothing_is_made_where_nothing_can_be():
    none = np.zeros((SIDE, SIDE), bool)
    for mark in (ERASED, REPAIRED):
        assert find_repair(pair(none), 0, side=SIDE, seed=0, mark=mark) is None  # no structure
        assert find_repair(pair(ROWS < 16), 0, side=SIDE, seed=0, mark=mark) is None  # a third of the image
    dark = np.where((COLUMNS > 24)[..., None], 0, PLANE).astype(np.uint8)
    large = (ROWS > 6) & (ROWS < 38) & (COLUMNS > 4) & (COLUMNS < 16)
    assert (
        find_repair(pair(large, dark), 0, side=SIDE, seed=0, mark=ERASED) is None
    )  # what is not taken is of the frame
    assert find_repair(pair(large, dark), 0, side=SIDE, seed=0, mark=REPAIRED) is None


def test_a_part_whose_border_is_too_different_is_not_copied():
    image = np.where((COLUMNS < 24)[..., None], 60, 160).astype(np.uint8) * np.ones(3, np.uint8)
    region = (ROWS - 24) ** 2 + (COLUMNS - 10) ** 2 <= 25
    right = COLUMNS >= 24
    rng = np.random.default_rng(0)
    assert replaced(image, region, region | ~right, rng) is None  # 100 levels apart
    np.testing.assert_array_equal(replaced(image, region, region, rng), image)  # from the same side
    assert replaced(image, (ROWS == 9) & (COLUMNS == 9), region, rng) is None  # one pixel has no inside

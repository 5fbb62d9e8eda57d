"""Windows without a structure: where they lie, and what they show."""

import numpy as np
import pytest
from pair_files import pair_of_places

from ddim_jax.data.empty_windows import Window, find_window


@pytest.mark.parametrize("seed", range(5))
def test_a_window_is_free_and_as_large_as_said(seed):
    example = pair_of_places(inside=np.s_[:12, :20])
    found = find_window(example, 3, seed)
    assert found.row == 3 and found == find_window(example, 3, seed)
    inside = np.s_[found.top : found.top + found.height, found.left : found.left + found.width]
    assert example.mask[inside].shape == (found.height, found.width) and not example.mask[inside].any()
    # A strip of 28 of 40 rows or of 40 of 60 columns is free: seven tenths and two thirds of the sides.
    assert 0.5 * 40 - 1 <= found.height <= 28 and found.width / 60 == pytest.approx(found.height / 40, abs=0.03)


def test_where_nothing_is_free_there_is_none():
    assert find_window(pair_of_places(inside=np.s_[18:22, 25:35]), 0, 0) is None  # the middle is in every window
    assert find_window(pair_of_places(inside=np.s_[:0]), 0, 0).height >= 31  # of an empty mask nearly the largest
    example = pair_of_places(inside=np.s_[:0])
    ignored = example._replace(mask=np.where(np.arange(60) == 30, np.uint8(255), example.mask))
    assert find_window(ignored, 0, 0) is None
    annotators = np.stack([example.mask, pair_of_places(inside=np.s_[18:22, 25:35]).mask])
    assert find_window(example._replace(annotators=annotators), 0, 0) is None


def test_the_dark_frame_is_no_window():
    example = pair_of_places(inside=np.s_[:, 20:24])
    dark = example.image.copy()
    dark[:, :20] = 0
    assert find_window(example, 0, 0) is not None  # to the right of the structure
    dark[:, 24:] = 0
    dark[:, 20:24] = 200
    assert find_window(example._replace(image=dark), 0, 0) is None


def test_of_any_class_a_window_is_empty_and_the_smallest_pictures_do_not_fail():
    example = pair_of_places(inside=np.s_[:0])
    classes = example._replace(mask=np.where(np.arange(60) >= 36, np.uint8(3), example.mask))
    for seed in range(5):
        found = find_window(classes, 0, seed)
        assert found.left + found.width <= 36
    assert find_window(pair_of_places(height=1, width=1, inside=np.s_[:0]), 0, 0) == (0, 0, 0, 1, 1)
    assert find_window(pair_of_places(height=1, width=5), 0, 0) in (None, *((0, 0, left, 1, 3) for left in (2,)))


def test_the_masks_of_annotators_are_cut_alike():
    example = pair_of_places()._replace(annotators=np.arange(2 * 40 * 60, dtype=np.uint8).reshape(2, 40, 60))
    cut = Window(0, 5, 7, 20, 30).of(example)
    np.testing.assert_array_equal(cut.annotators, example.annotators[:, 5:25, 7:37])
    np.testing.assert_array_equal(cut.image, example.image[5:25, 7:37])

import math

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist
from skimage.metrics import hausdorff_distance

from ddim_jax.metrics import hausdorff, hd95


def blob(seed: int, shape=(40, 52)) -> np.ndarray:
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 4)
    return field > np.quantile(field, 0.7)


def outline_by_neighbours(mask: np.ndarray) -> np.ndarray:
    """Foreground pixels with a background pixel (or the outside of the image) among their four neighbours."""
    padded = np.pad(mask.astype(bool), 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask.astype(bool) & ~inside


def test_two_single_pixels_are_as_far_as_pythagoras_says():
    one, other = np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.uint8)
    one[2, 3], other[5, 7] = 1, 1
    assert hd95(one, other) == pytest.approx(5.0)
    assert hausdorff(one, other) == pytest.approx(5.0)


def test_a_shifted_square_lies_its_shift_away():
    truth, prediction = np.zeros((30, 30), np.uint8), np.zeros((30, 30), np.uint8)
    truth[5:15, 5:15], prediction[5:15, 8:18] = 1, 1
    # Outline: 36 pixels. The far side (10 pixels) is 3 away, so the 95th percentile lies among them.
    assert hd95(prediction, truth) == pytest.approx(3.0)
    assert hd95(truth, truth) == 0.0


def test_the_percentile_is_interpolated_and_the_larger_direction_counts():
    truth, prediction = np.zeros((3, 60), np.uint8), np.zeros((3, 60), np.uint8)
    truth[1, :20] = 1
    prediction[1, :21] = 1
    prediction[1, 40] = 1
    # From the prediction: 20 distances of 0, then 1 and 21 (to column 19). Position 0.95 * 21 = 19.95 -> 0.95 * 1.
    # From the truth: all 0. Pooled over both directions it would be position 0.95 * 41 = 38.95 -> 0.
    assert hd95(prediction, truth) == pytest.approx(0.95)
    assert hd95(truth, prediction) == pytest.approx(0.95)
    assert hausdorff(prediction, truth) == pytest.approx(21.0)
    assert hausdorff(prediction, truth, 0) == 0.0


def test_distances_run_between_outlines_not_areas():
    ring, disc = np.ones((21, 21), np.uint8), np.ones((21, 21), np.uint8)
    ring[10, 10] = 0
    # The disc's outline is the frame of the image; the ring has four more outline pixels about the hole, 9 from it.
    assert hausdorff(ring, disc) == pytest.approx(9.0)


def test_empty_masks_follow_the_stated_rule():
    empty, full = np.zeros((30, 40), np.uint8), np.ones((30, 40), np.uint8)
    assert hd95(empty, empty) == 0.0
    assert hd95(empty, full) == hd95(full, empty) == pytest.approx(50.0)
    corner, opposite = empty.copy(), empty.copy()
    corner[0, 0], opposite[-1, -1] = 1, 1
    assert hd95(corner, opposite) == pytest.approx(math.hypot(29, 39)) and hd95(corner, opposite) < hd95(corner, empty)


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_scikit_image_and_with_all_pairs(seed):
    prediction, truth = blob(seed), blob(seed + 100)
    outlines = outline_by_neighbours(prediction), outline_by_neighbours(truth)
    assert hausdorff(prediction, truth) == pytest.approx(hausdorff_distance(*outlines))
    pairs = cdist(*(np.argwhere(outline) for outline in outlines))
    expected = max(np.percentile(pairs.min(axis=1), 95), np.percentile(pairs.min(axis=0), 95))
    assert hd95(prediction, truth) == pytest.approx(expected)
    assert 0 < expected < pairs.max()


def test_distances_in_millimetres_know_how_far_rows_and_columns_are_apart():
    prediction, truth, spacing = blob(3), blob(103), (0.4, 2.5)
    outlines = outline_by_neighbours(prediction), outline_by_neighbours(truth)
    pairs = cdist(*(np.argwhere(outline) * spacing for outline in outlines))
    expected = max(np.percentile(pairs.min(axis=1), 95), np.percentile(pairs.min(axis=0), 95))
    assert hausdorff(prediction, truth, 95.0, spacing) == pytest.approx(expected)
    empty = np.zeros((30, 16), np.uint8)
    assert hausdorff(empty, np.ones_like(empty), pixel_mm=(0.4, 1.0)) == pytest.approx(20.0)  # 12 by 16 mm


def test_masks_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 3\) and \(3, 4\)"):
        hd95(np.ones((3, 3)), np.ones((3, 4)))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"percentile": 300.0}, "the percentile is 300.0"),
        ({"percentile": float("nan")}, "the percentile is nan"),
        ({"pixel_mm": (0.0, 1.0)}, r"pixel_mm is \(0.0, 1.0\); expected two distances above 0"),
        ({"pixel_mm": (1.0, -1.0)}, "pixel_mm is"),
        ({"pixel_mm": (float("nan"), 1.0)}, "pixel_mm is"),
    ],
)
@pytest.mark.parametrize("truth", [np.zeros((4, 4), np.uint8), np.eye(4, dtype=np.uint8)])
def test_arguments_out_of_range_are_refused_also_where_a_mask_is_empty(given, told, truth):
    with pytest.raises(ValueError, match=told):
        hausdorff(truth, np.ones((4, 4), np.uint8), **given)

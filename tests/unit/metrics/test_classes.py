"""Scores of several classes and of masks with ignored pixels, counted by hand."""

import numpy as np
import pytest

from ddim_jax.labels import Labels
from ddim_jax.metrics import (
    Counts,
    calibration_of_classes,
    class_counts,
    class_doubts,
    measure_classes,
    soft_dice_uncertainty,
)

EXCLUSIVE = Labels.create({"lung": 1, "heart": 2}, ignore=9)
OVERLAPPING = Labels.create({"lung": [1, 3], "heart": [2, 3]}, multilabel=True)
TRUTH = np.array([[0, 1, 1, 2, 2, 255, 255]], np.uint8)
DRAWN = np.array([[1, 1, 2, 2, 0, 1, 2]], np.uint8)


def test_each_class_is_counted_against_the_rest_and_ignored_pixels_nowhere():
    assert class_counts(DRAWN, TRUTH, EXCLUSIVE) == [Counts(1, 1, 1, 2), Counts(1, 1, 1, 2)]
    assert all(sum(counts) == 5 for counts in class_counts(DRAWN, TRUTH, EXCLUSIVE))
    one = Labels.create(ignore=9)
    assert class_counts(DRAWN % 2, np.where(TRUTH == 2, 0, TRUTH), one) == [Counts(1, 1, 1, 2)]


def test_overlapping_classes_are_counted_by_their_bits():
    truth, drawn = np.array([[3, 1, 2, 0]], np.uint8), np.array([[1, 1, 3, 2]], np.uint8)
    assert class_counts(drawn, truth, OVERLAPPING) == [Counts(2, 1, 0, 1), Counts(1, 1, 1, 1)]


@pytest.mark.parametrize(
    ("labels", "wrong", "said"),
    [
        (EXCLUSIVE, 7, "holds 7; expected values from 0 to 2, or 255 where a pixel is ignored"),
        (Labels.create({"lung": 1, "heart": 2}), 255, "holds 255; expected values from 0 to 2$"),
        (OVERLAPPING, 4, "holds 4; expected values from 0 to 3$"),
        (Labels.create(ignore=9), 2, "holds 2; expected values from 0 to 1, or 255"),
        (Labels(), 2, "must hold 0 and 1 only"),
    ],
)
def test_values_that_are_no_class_are_refused(labels, wrong, said):
    odd, right = np.array([[wrong, 1]], np.uint8), np.array([[0, 1]], np.uint8)
    for name, pair in (("truth", (right, odd)), ("prediction", (odd, right))):
        with pytest.raises(ValueError, match=f"{name} {said}"):
            class_counts(*pair, labels)
        with pytest.raises(ValueError, match=f"{name} {said}"):
            measure_classes(*pair, labels)


def test_all_metrics_of_a_class_are_those_of_its_mask():
    truth, drawn = TRUTH[:, :5], DRAWN[:, :5]
    whole = measure_classes(drawn, truth, EXCLUSIVE)
    for number, (counts, values) in enumerate(whole, start=1):
        assert (counts, values) == measure_classes((drawn == number) * 1, (truth == number) * 1)[0]
    assert whole[0][1]["dice"] == pytest.approx(0.5)
    with_ignored = measure_classes(DRAWN, TRUTH, EXCLUSIVE)
    assert [counts for counts, _ in with_ignored] == [counts for counts, _ in whole]


def test_calibration_is_of_each_class_over_the_pixels_that_count():
    probability = np.stack([DRAWN == 1, DRAWN == 2], axis=-1).astype(np.float32)
    lung, heart = calibration_of_classes(probability, TRUTH, EXCLUSIVE)
    assert lung.pixels.sum() == heart.pixels.sum() == 5
    assert (lung.pixels[-1], lung.foreground[-1]) == (2, 1) and (heart.pixels[-1], heart.foreground[-1]) == (2, 1)


def test_each_class_has_a_doubt_of_its_own():
    probability = np.random.default_rng(0).random((4, 4, 2)) / 2
    mask = np.array([[0, 1, 2, 1]] * 4, np.uint8)
    each = [soft_dice_uncertainty(probability[..., k], mask == k + 1) for k in range(2)]
    assert class_doubts(probability, mask, EXCLUSIVE) == pytest.approx(each)


def test_a_map_that_is_ignored_everywhere_has_no_pixel_to_calibrate():
    sums = calibration_of_classes(np.zeros((2, 2, 2)), np.full((2, 2), 255, np.uint8), EXCLUSIVE)
    assert [one.pixels.sum() for one in sums] == [0, 0]

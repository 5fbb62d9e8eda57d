"""Metrics of several masks against several annotators: by hand, and against plain loops over sets of pixels."""

import itertools

import numpy as np
import pytest

from ddim_jax.labels import Labels
from ddim_jax.metrics import best_dice, d_max, ged, matched_iou, measure_hypotheses, overlaps
from ddim_jax.registry import HYPOTHESIS_METRICS, register
from ddim_jax.runtime.errors import ConfigError


def row(*pixels):
    mask = np.zeros((1, 6), np.uint8)
    mask[0, list(pixels)] = 1
    return mask


EMPTY, A, B, AB = row(), row(0, 1), row(3, 4), row(0, 1, 3, 4)


def slow_iou(first, second):
    first, second = set(np.flatnonzero(first)), set(np.flatnonzero(second))
    return len(first & second) / len(first | second) if first | second else 1.0


def slow_dice(first, second):
    iou = slow_iou(first, second)
    return 2 * iou / (1 + iou)


def slow_ged(samples, truths):
    def mean(one, other):
        return np.mean([1 - slow_iou(a, b) for a in one for b in other])

    return 2 * mean(samples, truths) - mean(samples, samples) - mean(truths, truths)


def slow_matched(samples, truths):
    """By trying every assignment; for small numbers of masks, of which one divides the other."""
    count = max(len(samples), len(truths))
    samples, truths = list(samples) * (count // len(samples)), list(truths) * (count // len(truths))
    return max(
        np.mean([slow_iou(one, truths[place]) for one, place in zip(samples, order, strict=True)])
        for order in itertools.permutations(range(count))
    )


def test_overlaps_by_hand():
    iou, dice = overlaps(np.stack([A, EMPTY]), np.stack([A, B, AB, EMPTY]))
    np.testing.assert_allclose(iou, [[1, 0, 0.5, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(dice, [[1, 0, 2 / 3, 0], [0, 0, 0, 1]])


def test_the_same_masks_in_the_same_shares_are_at_distance_nothing():
    truths = np.stack([A, A, AB, EMPTY])
    assert ged(np.concatenate([truths, truths]), truths) == 0
    assert matched_iou(np.concatenate([truths, truths]), truths) == 1
    assert d_max(truths, truths) == 1


def test_a_sampler_that_gives_one_of_two_modes_by_hand():
    truths, one_mode = np.stack([A, B]), np.stack([A, A])
    # 2 * 1/2 across, nothing within, 1/2 among the truths.
    assert ged(one_mode, truths) == pytest.approx(0.5)
    assert matched_iou(one_mode, truths) == pytest.approx(0.5)
    assert d_max(one_mode, truths) == pytest.approx(0.5)
    # The union of both is nearer to each of them than either is to the other.
    assert best_dice(np.stack([A, AB]), truths) == pytest.approx(2 / 3)


def test_two_and_three_masks_are_repeated_to_six():
    # Three times A and three times B against twice A, B and AB: A-A, A-A, B-B, B-B, and AB with one of each.
    assert matched_iou(np.stack([A, B]), np.stack([A, B, AB])) == pytest.approx((4 + 2 * 0.5) / 6)


def test_a_missed_empty_mask_is_the_largest_distance():
    assert ged(np.stack([A]), np.stack([EMPTY])) == 2
    assert ged(np.stack([EMPTY]), np.stack([EMPTY])) == 0


def test_random_masks_against_loops():
    rng = np.random.default_rng(0)
    for samples, truths in ((1, 1), (4, 2), (2, 6), (5, 5)):
        s = rng.integers(0, 2, (samples, 3, 4)).astype(np.uint8) * (rng.random((samples, 1, 1)) < 0.8)
        t = rng.integers(0, 2, (truths, 3, 4)).astype(np.uint8) * (rng.random((truths, 1, 1)) < 0.8)
        assert ged(s, t) == pytest.approx(max(0, slow_ged(s, t)))
        assert matched_iou(s, t) == pytest.approx(slow_matched(s, t))
        assert d_max(s, t) == pytest.approx(np.mean([max(slow_dice(a, b) for a in s) for b in t]))
        assert best_dice(s, t) == pytest.approx(max(np.mean([slow_dice(a, b) for b in t]) for a in s))


def test_masks_of_more_pixels_than_are_taken_at_once():
    first = np.zeros((1, 2, 2**20), np.uint8)
    first[0, 0] = first[0, 1, :100] = 1
    assert overlaps(first, 1 - first)[0] == 0
    assert overlaps(first, np.ones_like(first))[0] == pytest.approx((2**20 + 100) / 2**21)


def test_measures_carry_the_number_of_hypotheses():
    measured = measure_hypotheses(np.stack([A, B, AB]), np.stack([A, B]))
    assert {"best_dice_3", "d_max_3", "ged_3", "matched_iou_3"} <= measured.keys()
    assert sorted(measured) == [f"{name}_3" for name in HYPOTHESIS_METRICS]
    assert measured["d_max_3"] == 1


def test_classes_are_averaged_and_ignored_pixels_left_out():
    labels = Labels.create({"a": 1, "b": 2}, ignore=[9])
    truths = np.stack([A + 2 * B, A + 2 * B])
    assert measure_hypotheses(truths, truths, labels)["ged_2"] == 0
    # Class a agrees, class b is missed: GED 0 and 2.
    assert measure_hypotheses(np.stack([A]), truths, labels)["ged_1"] == pytest.approx(1)
    ignored = truths.copy()
    ignored[0, 0, 3:5] = 255
    assert measure_hypotheses(np.stack([A]), ignored, labels)["ged_1"] == 0


@pytest.mark.parametrize(
    "masks",
    [np.zeros((0, 2, 2)), np.zeros((2, 2)), *(np.full((1, 2, 2), value) for value in (2, -1, 0.3, np.nan))],
)
def test_what_is_no_mask_is_refused(masks):
    with pytest.raises(ValueError, match="masks must be"):
        overlaps(masks, np.zeros((1, 2, 2), np.uint8))


def test_sizes_that_differ_are_refused():
    with pytest.raises(ValueError, match="one size"):
        overlaps(np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="one size"):  # of as many pixels
        overlaps(np.zeros((1, 2, 8), np.uint8), np.zeros((1, 4, 4), np.uint8))


def test_a_metric_that_gives_no_number_is_named(monkeypatch):
    monkeypatch.setattr(HYPOTHESIS_METRICS, "_entries", dict(HYPOTHESIS_METRICS.items()))
    register.hypothesis_metric("own")(lambda hypotheses, annotators: np.float64("nan"))
    with pytest.raises(ConfigError, match=r"the metric 'own' gives .*nan.*; expected a finite number"):
        measure_hypotheses(np.stack([A]), np.stack([B]))

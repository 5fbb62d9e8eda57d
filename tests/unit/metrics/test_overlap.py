import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ddim_jax.metrics import Counts, confusion_counts, dice, iou, precision, recall

# Truth and prediction share 2 pixels, the prediction has 1 more, the truth 3 more, 6 are in neither.
TRUTH = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0]], np.uint8)
PREDICTION = np.array([[1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]], np.uint8)
EMPTY = np.zeros_like(TRUTH)


def test_counts_and_ratios_of_a_case_done_by_hand():
    counts = confusion_counts(PREDICTION, TRUTH)
    assert counts == Counts(true_positive=2, false_positive=1, false_negative=3, true_negative=6)
    assert recall(counts) == pytest.approx(2 / 5)
    assert precision(counts) == pytest.approx(2 / 3)
    assert dice(counts) == pytest.approx(4 / 8)
    assert iou(counts) == pytest.approx(2 / 6)


def test_swapping_the_masks_swaps_recall_and_precision():
    there, back = confusion_counts(PREDICTION, TRUTH), confusion_counts(TRUTH, PREDICTION)
    assert recall(there) == precision(back)
    assert dice(there) == dice(back)
    assert iou(there) == iou(back)


@pytest.mark.parametrize("ratio", [recall, precision, dice, iou])
def test_empty_masks_follow_the_stated_rule(ratio):
    assert ratio(confusion_counts(EMPTY, EMPTY)) == 1.0
    assert ratio(confusion_counts(EMPTY, TRUTH)) == 0.0
    assert ratio(confusion_counts(PREDICTION, EMPTY)) == 0.0
    assert ratio(confusion_counts(TRUTH, TRUTH)) == 1.0


def test_pooling_adds_pixels_not_ratios():
    pooled = confusion_counts(PREDICTION, TRUTH) + confusion_counts(EMPTY, EMPTY)
    assert pooled == Counts(2, 1, 3, 18)
    assert dice(pooled) == pytest.approx(0.5)


@settings(deadline=None)
@given(
    hnp.arrays(bool, (5, 7), elements=st.booleans()),
    hnp.arrays(bool, (5, 7), elements=st.booleans()),
)
def test_ratios_agree_with_sets_of_pixels(prediction, truth):
    counts = confusion_counts(prediction, truth)
    drawn, real = set(np.flatnonzero(prediction)), set(np.flatnonzero(truth))
    assert sum(counts) == 35
    assert counts[:3] == (len(drawn & real), len(drawn - real), len(real - drawn))
    if drawn and real:
        assert dice(counts) == pytest.approx(2 * len(drawn & real) / (len(drawn) + len(real)))
        assert iou(counts) == pytest.approx(len(drawn & real) / len(drawn | real))
        assert iou(counts) == pytest.approx(dice(counts) / (2 - dice(counts)))


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (TRUTH[:2], r"\(2, 4\) and \(3, 4\)"),
        (TRUTH * 255, "0 and 1 only; found values from 0 to 255"),
        (TRUTH * np.nan, "0 and 1 only"),
    ],
)
def test_masks_that_are_not_masks_are_refused(prediction, message):
    with pytest.raises(ValueError, match=message):
        confusion_counts(prediction, TRUTH)

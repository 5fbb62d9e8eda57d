"""Calibration of the probability and what doubt is worth, in the result files of an evaluation."""

import csv

import numpy as np
import pytest
from evaluation_fakes import TOP_HALF, FakeSegmenter, MemorySource, hand_case, picture, rows

from ddim_jax.data import Example
from ddim_jax.evaluation import evaluate
from ddim_jax.evaluation.scoring import Scoring, score_image
from ddim_jax.labels import IGNORED, Labels
from ddim_jax.metrics import DoubtScale


def test_calibration_and_doubt_of_the_hand_case(tmp_path):
    segmenter, source = hand_case()
    metrics = evaluate(segmenter, source, tmp_path, split="test", figures=False)
    # Image a: four pixels of 1, four of 0.7, all foreground, and eight of 0. Image c: one of 0.25, nothing there.
    calibration = metrics["calibration"]
    expected = {0: (39, 0.0, 0.0), 3: (1, 0.25, 0.0), 10: (4, 0.7, 1.0), 14: (4, 1.0, 1.0)}
    for b, found in enumerate(calibration["bins"]):
        assert (found["from"], found["to"]) == pytest.approx((b / 15, (b + 1) / 15))
        pixels, told, came_true = expected.get(b, (0, None, None))
        assert found["pixels"] == pixels
        assert found["mean_probability"] == (told if told is None else pytest.approx(told))
        assert found["foreground_fraction"] == came_true
    assert calibration["ece"] == pytest.approx((4 * 0.3 + 0.25) / 48)
    # Image a: 1 - (2 * 6.8 + 1) / (6.8 + 8 + 1). Image c: 1 - 1 / (0.25 + 1).
    doubts = [1.2 / 15.8, 0.0, 0.2]
    with open(tmp_path / "per_image.csv", newline="") as file:
        assert [float(row["doubt"]) for row in csv.DictReader(file)] == pytest.approx(doubts, abs=1e-7)
    assert metrics["doubt"]["mean"] == pytest.approx(np.mean(doubts))
    assert metrics["doubt"]["rank_correlation_with_dice"] is None
    # All masks of the protocol "mean" are right.
    areas = {"area": 1.0, "best_area": 1.0, "unordered_area": 1.0, "gain": None, "kept_images": 3, "kept_dice": 1.0}
    assert metrics["risk_coverage"] == areas


def test_the_rest_gets_better_as_doubtful_images_are_removed_by_hand(tmp_path):
    """Dice 1, 2/3, 1 and 0; doubt finds the third, which is right, more doubtful than the second."""
    samples = {1: rows(1, 1, -1, -1), 2: rows(1, -1, -1, -1), 3: rows(1, 0.4, -1, -1), 4: rows(-1, -1, 0.2, 0.2)}
    source = MemorySource([Example(f"{key}", picture(key), TOP_HALF) for key in samples])
    segmenter = FakeSegmenter({key: [value] for key, value in samples.items()})
    metrics = evaluate(segmenter, source, tmp_path, split="test", samples=1, figures=False)
    with open(tmp_path / "per_image.csv", newline="") as file:
        doubts = [float(row["doubt"]) for row in csv.DictReader(file)]
    # Image 3: 4 + 4 * 0.7 pixels expected of 8 drawn; image 4: 8 * 0.6 of 8.
    assert doubts == pytest.approx([0, 0, 1 - 14.6 / 15.8, 1 - 10.6 / 13.8], abs=1e-6)
    found = metrics["risk_coverage"]
    # Removed: 4, then 3, then one of the two that are certain.
    curve = [(1 + 2 / 3 + 1 + 0) / 4, (1 + 2 / 3 + 1) / 3, (1 + 2 / 3) / 2, (1 + 2 / 3) / 2]
    best = [curve[0], curve[1], 1, 1]
    assert found["area"] == pytest.approx(np.mean(curve)) and found["best_area"] == pytest.approx(np.mean(best))
    assert found["unordered_area"] == pytest.approx(2 / 3)
    assert found["gain"] == pytest.approx((np.mean(curve) - 2 / 3) / (np.mean(best) - 2 / 3))
    assert (found["kept_images"], found["kept_dice"]) == (4, pytest.approx(2 / 3))
    # Ranks of doubt 1.5, 1.5, 3, 4 and of Dice 3.5, 2, 3.5, 1.
    correlation = np.corrcoef([1.5, 1.5, 3, 4], [3.5, 2, 3.5, 1])[0, 1]
    assert metrics["doubt"]["rank_correlation_with_dice"] == pytest.approx(correlation)


def test_calibration_is_of_the_scored_probability_and_doubt_of_the_working_size(tmp_path):
    # Columns 0 and 0.8 at 2 x 2 become 0, 0.2, 0.6, 0.8 at 4 x 4; the truth holds the last three, at 2 x 2 both.
    truth = np.tile(np.array([0, 1, 1, 1], np.uint8), (4, 1))
    source = MemorySource([Example("wide", picture(1), truth)])
    segmenter = FakeSegmenter({1: [[[-1.0, 0.6], [-1.0, 0.6]]]})
    error = {"model": (1 + 0.2) / 2, "native": (0.8 + 0.4 + 0.2) / 4}
    for resolution in ("model", "native"):
        metrics = evaluate(segmenter, source, tmp_path, split="test", samples=1, resolution=resolution, figures=False)
        assert metrics["calibration"]["ece"] == pytest.approx(error[resolution])
        assert metrics["doubt"]["mean"] == pytest.approx(1 - (3.2 + 1) / (1.6 + 2 + 1))


def test_majority_is_scored_and_its_votes_are_the_probability(tmp_path):
    """Votes 1, 2/3, 1/3 and 0 for the rows: the first two are drawn, though the mean would draw the first alone."""
    samples = [rows(1, 0.1, 0.1, -1), rows(1, 0.1, -1, -1), rows(1, -1, -1, -1)]
    source = MemorySource([Example("a", picture(1), TOP_HALF)])
    metrics = evaluate(
        FakeSegmenter({1: samples}), source, tmp_path, split="test", samples=3, ensemble="majority", figures=False
    )
    assert metrics["ensemble"] == "majority" and "fraction of the masks" in metrics["rules"]["ensemble"]
    assert metrics["protocols"]["mean"]["per_image"]["dice"]["mean"] == 1.0
    assert metrics["calibration"]["ece"] == pytest.approx((1 / 3 + 1 / 3) / 4)
    # Doubt is of these eight pixels by the mean of the probabilities: 1, 1.1 / 3, 0.55 / 3 and 0.
    assert metrics["doubt"]["mean"] == pytest.approx(1 - (2 * 4 * 4.1 / 3 + 1) / (4 * 4.65 / 3 + 8 + 1))


def test_the_doubt_of_a_mask_does_not_depend_on_what_the_truth_ignores():
    """A mask that lies where nobody annotated is no empty one."""
    samples = np.array([rows(0.8, 0.8, -0.8, -0.8)], np.float32)
    truth = TOP_HALF * 0
    scale, labels = DoubtScale(2.0, (0.9,), (1.0,)), Labels.create({"lung": 1}, ignore=255)
    scoring = Scoring(labels=labels, doubt_scale=scale)
    known = score_image(Example("a", picture(1), truth), samples, scoring)
    ignored = score_image(Example("a", picture(1), np.where(TOP_HALF, np.uint8(IGNORED), truth)), samples, scoring)
    assert ignored.statements[0].area == 0 and ignored.drawn == known.drawn == [True]
    # 7.2 of 8 drawn pixels and .8 of as many others are expected: a doubt of 1.6 / 17, at twice its odds.
    assert ignored.doubt == known.doubt == pytest.approx(3.2 / 18.6, abs=1e-6)

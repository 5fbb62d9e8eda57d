"""A temperature that is known is found again, and the calibration error says so."""

import numpy as np
import pytest
from scipy.special import expit

from ddim_jax.labels import Labels
from ddim_jax.metrics import (
    calibration_at,
    calibration_sums,
    class_doubts,
    expected_calibration_error,
    fit_doubt_temperature,
    fit_temperature,
    logit_counts_of_classes,
    logit_counts_of_masks,
    scale_probability,
)
from ddim_jax.metrics.temperature import logit_counts


def pixels(temperature, count=200_000):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, count)
    return expit(logits), rng.random(count) < expit(logits / temperature)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_found(temperature):
    probability, truth = pixels(temperature)
    counts = logit_counts(probability, truth)
    assert fit_temperature(counts) == pytest.approx(temperature, rel=0.02)
    before, after = (expected_calibration_error(calibration_at(counts, one)) for one in (1.0, temperature))
    assert after < 0.006 and (temperature == 1 or before > 0.05)
    exact = expected_calibration_error(calibration_sums(probability[None], truth[None]))
    assert before == pytest.approx(exact, abs=2e-3)


def test_scaling_by_hand():
    # The odds 1/9, 1 and 9 to the power of a half.
    scaled = scale_probability(np.array([0.0, 0.1, 0.5, 0.9, 1.0]), 2.0)
    assert scaled.tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1]) and scaled.dtype == np.float32


def test_the_doubt_becomes_what_is_missed_by_hand():
    # At T = 2 the odds 9 and 1/9 become 3 and 1/3: of 30 x 100 drawn pixels .75 are expected, of as many others .25.
    probability, mask = np.full((60, 100), 0.1), np.zeros((60, 100), np.uint8)
    probability[:30], mask[:30] = 0.9, 1
    by_hand = 1 - (2 * 2250 + 1) / (2250 + 750 + 3000 + 1)
    assert class_doubts(probability, mask, temperature=2.0) == pytest.approx([by_hand])
    counts = logit_counts_of_masks(probability, mask)
    assert counts.shape == (1, 2, 401) and counts.sum(axis=2).tolist() == [[3000, 3000]]
    assert fit_doubt_temperature([counts], [by_hand]) == pytest.approx(2.0, rel=0.01)
    # On average over images: a sure one that misses all and one that misses nothing, both as doubted as half.
    missed = class_doubts(probability, mask, temperature=3.0)[0]
    assert fit_doubt_temperature([counts] * 2, [2 * missed, 0.0]) == pytest.approx(3.0, rel=0.01)


def test_a_sure_probability_can_be_doubted():
    """The fit and the doubt alike take the logits of 0 and 1 for -10 and 10."""
    probability, mask = np.zeros((40, 40)), np.zeros((40, 40), np.uint8)
    probability[:20], mask[:20] = 1.0, 1
    temperature = fit_doubt_temperature([logit_counts_of_masks(probability, mask)], [0.1])
    assert class_doubts(probability, mask, temperature=temperature) == pytest.approx([0.1], abs=1e-3)
    assert class_doubts(probability, mask) == [0.0]
    # Half of the pixels at 1/2 miss half: more cannot be doubted.
    assert fit_doubt_temperature([logit_counts_of_masks(probability, mask)], [0.9]) == pytest.approx(20, rel=1e-3)


def test_the_doubt_of_classes_is_the_mean_of_theirs():
    labels = Labels.create({"lung": 1, "heart": 2})
    rng = np.random.default_rng(0)
    probability = rng.dirichlet([1, 1, 1], (40, 40))[..., :2]
    mask = rng.integers(0, 3, (40, 40)).astype(np.uint8)
    missed = float(np.mean(class_doubts(probability, mask, labels, 1.7)))
    assert fit_doubt_temperature([logit_counts_of_masks(probability, mask, labels)], [missed]) == pytest.approx(
        1.7, rel=0.01
    )


def test_pixels_of_two_classes_and_ignored_ones_are_counted_by_hand():
    labels = Labels.create({"lung": 1, "heart": 2}, ignore=9)
    truth = np.array([[1, 2, 0, 255]], np.uint8)
    probability = np.array([[[1.0, 0.0], [0.5, 0.5], [0.0, 0.0], [0.5, 0.5]]], np.float32)
    counts = logit_counts_of_classes(probability, truth, labels)
    assert counts.shape == (2, 401) and counts.sum() == 2 * 3
    assert (counts[1, 400], counts[0, 0], counts[0, 200], counts[1, 200]) == (1, 3, 1, 1)

"""A temperature that is known is found again, and the calibration error says so."""

import numpy as np
import pytest
from scipy.special import expit

from ddim_jax.labels import Labels
from ddim_jax.metrics import (
    calibration_at,
    calibration_sums,
    expected_calibration_error,
    fit_temperature,
    logit_counts_of_classes,
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
    scaled = scale_probability(np.array([0.1, 0.5, 0.9]), 2.0)
    assert scaled.tolist() == pytest.approx([0.25, 0.5, 0.75]) and scaled.dtype == np.float32
    # Those of 0 and 1 are e^-10 and e^10.
    assert scale_probability(np.array([0.0, 1.0]), 2.0).tolist() == pytest.approx([expit(-5), expit(5)])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_scaled_probabilities_have_the_error_that_is_told(temperature):
    """Most are 0 or 1, a tenth of these wrong."""
    probability = np.repeat([0.0, 1.0, expit(-2.0), expit(1.0)], 100)
    truth = np.concatenate([np.arange(100) < wrong for wrong in (10, 90, 20, 70)])
    told = expected_calibration_error(calibration_at(logit_counts(probability, truth), temperature))
    scaled = scale_probability(probability, temperature)
    assert told == pytest.approx(expected_calibration_error(calibration_sums(scaled[None], truth[None])), abs=1e-6)
    at_ten = expit(np.array([-10.0, 10.0]) / temperature)
    assert told == pytest.approx(
        (abs(at_ten[0] - 0.1) + abs(at_ten[1] - 0.9) + abs(expit(-2 / temperature) - 0.2)
         + abs(expit(1 / temperature) - 0.7)) / 4
    )  # fmt: skip


@pytest.mark.parametrize("temperature", [0.0, -2.0, np.nan, np.inf])
def test_what_is_no_temperature_is_refused(temperature):
    with pytest.raises(ValueError, match=r"temperature is .*; expected a finite number above 0"):
        scale_probability(np.array([0.5]), temperature)
    with pytest.raises(ValueError, match=r"temperature is .*; expected a finite number above 0"):
        calibration_at(np.ones((2, 401), np.int64), temperature)


@pytest.mark.parametrize("wrong", [-0.01, 1.5, np.nan])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(ValueError, match=r"probability has .*, the first of 2 such values; expected them in \[0, 1\]"):
        scale_probability(np.array([[0.5, wrong], [wrong, 1.0]]), 1.0)


def test_pixels_of_two_classes_and_ignored_ones_are_counted_by_hand():
    labels = Labels.create({"lung": 1, "heart": 2}, ignore=9)
    truth = np.array([[1, 2, 0, 255]], np.uint8)
    probability = np.array([[[1.0, 0.0], [0.5, 0.5], [0.0, 0.0], [0.5, 0.5]]], np.float32)
    counts = logit_counts_of_classes(probability, truth, labels)
    assert counts.shape == (2, 401) and counts.sum() == 2 * 3
    assert (counts[1, 400], counts[0, 0], counts[0, 200], counts[1, 200]) == (1, 3, 1, 1)

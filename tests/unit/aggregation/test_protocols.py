import numpy as np
import pytest

from ddim_jax.aggregation import PROTOCOLS, threshold_mask

PAPER, MEAN = PROTOCOLS["paper"], PROTOCOLS["mean"]


def mask(protocol, samples):
    return threshold_mask(protocol.probability(samples), protocol.threshold)


def test_thresholds_are_those_of_the_definition():
    assert (PAPER.threshold, MEAN.threshold) == (0.9, 0.5)
    assert all(PROTOCOLS[name].name == name for name in PROTOCOLS)


def test_paper_stretches_the_unclipped_mean_and_cuts_at_nine_tenths():
    samples = np.array([[[-3.0, 0.0, 1.2, 1.0, 1.4]], [[-1.0, 1.0, 1.3, 1.4, 1.6]]], np.float32)
    # Means -2, 0.5, 1.25, 1.2, 1.5; range 3.5: 0, 2.5/3.5, 3.25/3.5 = .929, 3.2/3.5 = .914, 1.
    expected = [[0.0, 2.5 / 3.5, 3.25 / 3.5, 3.2 / 3.5, 1.0]]
    np.testing.assert_allclose(PAPER.probability(samples), expected, rtol=1e-6)
    np.testing.assert_array_equal(mask(PAPER, samples), [[0, 0, 1, 1, 1]])


def test_the_mean_clips_first_and_cuts_at_a_half():
    samples = np.array([[[-9.0, 9.0, 0.2, 0.0]], [[0.9, -0.9, -0.1, 0.0]]], np.float32)
    # Clipped means -0.05, 0.05, 0.05, 0: one wild value does not outvote the other sample.
    np.testing.assert_allclose(MEAN.probability(samples), [[0.475, 0.525, 0.525, 0.5]], rtol=1e-6)
    np.testing.assert_array_equal(mask(MEAN, samples), [[0, 1, 1, 0]])


def test_noise_about_an_empty_mask_becomes_foreground_in_the_paper_protocol_only():
    samples = np.random.default_rng(0).normal(-1.0, 0.01, (5, 16, 16)).astype(np.float32)
    assert mask(PAPER, samples).sum() > 0
    assert mask(MEAN, samples).sum() == 0


@pytest.mark.parametrize(
    ("value", "probability", "expected"), [(-1.0, 0.0, 0), (1.0, 1.0, 1), (0.0, 0.5, 0), (7.0, 1.0, 1)]
)
def test_a_flat_map_divides_nothing_by_zero(value, probability, expected):
    samples = np.full((3, 2, 2), value, np.float32)
    np.testing.assert_array_equal(PAPER.probability(samples), np.full((2, 2), probability, np.float32))
    np.testing.assert_array_equal(mask(PAPER, samples), np.full((2, 2), expected))


def test_rounding_noise_on_a_flat_map_is_not_stretched():
    samples = np.full((1, 2, 2), 0.3, np.float32)
    samples[0, 0, 0] = np.nextafter(np.float32(0.3), np.float32(1))
    np.testing.assert_allclose(PAPER.probability(samples), 0.65, rtol=1e-6)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_probabilities_stay_in_the_unit_interval_and_non_finite_samples_are_refused(protocol):
    samples = np.random.default_rng(1).normal(0, 2, (4, 8, 8)).astype(np.float32)
    probability = protocol.probability(samples)
    assert probability.dtype == np.float32 and probability.min() >= 0 and probability.max() <= 1
    samples[2, 3, 4] = np.nan
    with pytest.raises(ValueError, match="finite"):
        protocol.probability(samples)


def test_the_threshold_itself_is_background():
    np.testing.assert_array_equal(threshold_mask(np.array([[0.49, 0.5, 0.51]]), 0.5), [[0, 0, 1]])
    assert threshold_mask(np.array([[1.0]]), 0.5).dtype == np.uint8

import numpy as np
import pytest

from ddim_jax.aggregation import mean_probability, sample_probabilities, uncertainty

# Two samples of a 1 x 4 image: agreement, a contradiction, values beyond [-1, 1], and halves.
SAMPLES = np.array([[[1.0, 1.0, 3.0, 0.5]], [[1.0, -1.0, -2.0, 0.0]]], np.float32)


def test_probabilities_are_clipped_and_moved_to_the_unit_interval():
    expected = [[[1.0, 1.0, 1.0, 0.75]], [[1.0, 0.0, 0.0, 0.5]]]
    np.testing.assert_allclose(sample_probabilities(SAMPLES), expected)
    assert sample_probabilities(SAMPLES).dtype == np.float32


def test_mean_and_disagreement_by_hand():
    np.testing.assert_allclose(mean_probability(SAMPLES), [[1.0, 0.5, 0.5, 0.625]])
    np.testing.assert_allclose(uncertainty(SAMPLES), [[0.0, 0.5, 0.5, 0.125]])
    assert mean_probability(SAMPLES).dtype == uncertainty(SAMPLES).dtype == np.float32


def test_one_sample_alone_is_certain():
    np.testing.assert_array_equal(uncertainty(SAMPLES[:1]), np.zeros((1, 4)))
    np.testing.assert_allclose(mean_probability(SAMPLES[1:]), [[1.0, 0.0, 0.0, 0.5]])


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (SAMPLES[0], r"\[samples, h, w\].*found \(1, 4\)"),
        (SAMPLES[:0], r"at least one sample"),
        (np.full((1, 2, 2), np.nan), "NaN"),
        (np.full((1, 2, 2), np.inf), "infinity"),
    ],
)
def test_samples_that_cannot_be_fused_are_refused(samples, message):
    for function in (mean_probability, uncertainty):
        with pytest.raises(ValueError, match=message):
            function(samples)

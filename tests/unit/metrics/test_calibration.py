import numpy as np
import pytest

from ddim_jax.metrics import calibration_sums, expected_calibration_error
from ddim_jax.metrics.calibration import BINS

# Bins 0, 0, 7, 13, 14 and 14 of 15.
PROBABILITY = np.array([[0.0, 0.05, 0.5], [0.9, 0.95, 1.0]])
TRUTH = np.array([[0, 0, 1], [1, 1, 0]], np.uint8)


def by_loop(probability, truth, bins=15):
    """Guo et al., Eq. 3, bin by bin; 0 belongs to the first."""
    error = 0.0
    for b in range(bins):
        inside = ((probability > b / bins) | (b == 0)) & (probability <= (b + 1) / bins)
        if inside.any():
            error += inside.mean() * abs(probability[inside].mean() - truth[inside].mean())
    return error


def test_six_pixels_by_hand():
    sums = calibration_sums(PROBABILITY, TRUTH)
    expected = {0: (2, 0.05, 0), 7: (1, 0.5, 1), 13: (1, 0.9, 1), 14: (2, 1.95, 1)}
    for b in range(BINS):
        found = sums.pixels[b], sums.probability[b], sums.foreground[b]
        assert found == pytest.approx(expected.get(b, (0, 0, 0))), b
    # |0.05 - 0| + |0.5 - 1| + |0.9 - 1| + |1.95 - 1| of 6 pixels.
    assert expected_calibration_error(sums) == pytest.approx(1.6 / 6)


def test_bins_hold_their_upper_edge_and_the_first_holds_zero():
    for b in range(1, BINS):
        edge = b / BINS
        values = np.array([[edge, np.nextafter(edge, 1.0)]])
        pixels = calibration_sums(values, np.zeros((1, 2), np.uint8)).pixels
        assert (pixels[b - 1], pixels[b]) == (1, 1)
    assert calibration_sums(np.array([[0.0, 1.0]]), np.array([[0, 1]])).pixels[[0, -1]].tolist() == [1, 1]


def test_votes_of_five_lie_on_their_edges_in_either_precision():
    for dtype in (np.float32, np.float64):
        votes = (np.arange(6) / 5).astype(dtype)[None]
        assert np.flatnonzero(calibration_sums(votes, np.zeros((1, 6), bool)).pixels).tolist() == [0, 2, 5, 8, 11, 14]


@pytest.mark.parametrize("seed", range(3))
def test_images_of_different_sizes_pool_to_one_and_agree_with_a_loop(seed):
    rng = np.random.default_rng(seed)
    images = [(rng.random(shape).astype(np.float32), rng.integers(0, 2, shape)) for shape in ((9, 12), (5, 4), (1, 30))]
    first, second, third = (calibration_sums(*image) for image in images)
    probability, truth = (np.concatenate([image[k].ravel() for image in images]).astype(np.float64) for k in (0, 1))
    pooled = first + second + third
    assert pooled.pixels.sum() == len(truth)
    assert expected_calibration_error(pooled) == pytest.approx(by_loop(probability, truth), abs=1e-12)
    assert expected_calibration_error(first) == pytest.approx(by_loop(*images[0]), abs=1e-7)


def test_probabilities_that_come_true_are_calibrated_and_others_miss_by_their_distance():
    rng = np.random.default_rng(0)
    probability = rng.random((400, 500))
    truth = rng.random((400, 500)) < probability
    assert expected_calibration_error(calibration_sums(probability, truth)) < 0.01
    certain = (probability > 0.5).astype(float)
    # Of what is called certain, 3/4 come true.
    assert expected_calibration_error(calibration_sums(certain, truth)) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("probability", "truth", "message"),
    [
        (PROBABILITY[:1], TRUTH, r"found \(1, 3\) and \(2, 3\)"),
        (PROBABILITY[0], TRUTH[0], r"two maps \[H, W\]"),
        (PROBABILITY + 0.1, TRUTH, r"lie in \[0, 1\]; found 0.1 to 1.1"),
        (PROBABILITY * np.nan, TRUTH, r"lie in \[0, 1\]; found nan"),
        (PROBABILITY, TRUTH * 255, "0 and 1 only; found values from 0 to 255"),
    ],
)
def test_what_cannot_be_compared_is_refused(probability, truth, message):
    with pytest.raises(ValueError, match=message):
        calibration_sums(probability, truth)

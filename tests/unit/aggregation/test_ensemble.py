import numpy as np
import numpy_staple
import pytest

from ddim_jax.aggregation import PROTOCOLS, ensemble_probability, ensemble_threshold, of_masks, threshold_mask
from ddim_jax.labels import Labels
from ddim_jax.registry import ENSEMBLES
from ddim_jax.runtime.errors import ConfigError

MEAN, PAPER = PROTOCOLS["mean"], PROTOCOLS["paper"]


def samples(seed=0, count=4):
    rng = np.random.default_rng(seed)
    shape = np.where(rng.random((8, 9)) < 0.4, 0.8, -0.8)
    return (shape + rng.normal(0, 0.7, (count, 8, 9))).astype(np.float32)


def test_the_mean_is_what_the_protocol_says():
    for protocol in PROTOCOLS.values():
        np.testing.assert_array_equal(ensemble_probability(samples(), protocol), protocol.probability(samples()))
        assert ensemble_threshold(protocol) == protocol.threshold


def test_the_mean_of_each_stretches_each_sample_by_itself():
    two = np.array([[[0.0, 1.0, 2.0, 4.0]], [[-1.0, -0.5, 1.0, 1.0]]], np.float32)
    # Stretched: 0, 1/4, 1/2, 1 and 0, 1/4, 1, 1. The mean, -1/2, 1/4, 3/2, 5/2, is stretched to 0, 1/4, 2/3, 1.
    np.testing.assert_allclose(ensemble_probability(two, PAPER, "mean_of_each"), [[0, 0.25, 0.75, 1]])
    np.testing.assert_allclose(ensemble_probability(two, PAPER), [[0, 0.25, 2 / 3, 1]], rtol=1e-6)
    assert ensemble_threshold(PAPER, "mean_of_each") == 0.9
    np.testing.assert_allclose(  # clipping is of each sample anyway
        ensemble_probability(samples(), MEAN, "mean_of_each"), ensemble_probability(samples(), MEAN), atol=1e-6
    )


def test_staple_fuses_the_masks_that_the_protocol_makes_of_each_sample():
    mean = samples() > 0.0  # a clipped sample above 0 is a probability above a half
    low, high = samples().min(axis=(1, 2), keepdims=True), samples().max(axis=(1, 2), keepdims=True)
    paper = (samples() - low) / (high - low) > 0.9
    for protocol, masks in ((MEAN, mean), (PAPER, paper)):
        expected, _, _ = numpy_staple.staple(masks)
        result = ensemble_probability(samples(), protocol, "staple")
        assert result.dtype == np.float32
        np.testing.assert_allclose(result, expected, atol=1e-4)
        assert ensemble_threshold(protocol, "staple") == 0.5


@pytest.mark.parametrize("count", [1, 3, 8, 9, 17])
def test_staple_of_any_number_of_samples(count):
    """Eight masks are one byte of votes."""
    noisy = samples(seed=2, count=count)
    expected, _, _ = numpy_staple.staple(noisy > 0.0)
    np.testing.assert_allclose(ensemble_probability(noisy, MEAN, "staple"), expected, atol=1e-4)


def test_majority_is_the_fraction_of_votes_and_a_tie_is_background():
    # Masks (above 0) of five pixels: 4, 3, 2, 1 and 0 votes of four. Their mean would draw all but the last.
    votes = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    values = np.where(votes, 1.0, -0.1).astype(np.float32)[:, None]
    result = ensemble_probability(values, MEAN, "majority")
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, [[1, 0.75, 0.5, 0.25, 0]])
    np.testing.assert_array_equal(threshold_mask(result, ensemble_threshold(MEAN, "majority")), [[1, 1, 0, 0, 0]])
    np.testing.assert_array_equal(ensemble_probability(values, MEAN) > 0.5, [[1, 1, 1, 1, 0]])


def test_majority_votes_under_the_threshold_of_the_protocol():
    # Each sample is stretched by itself: (0, .8, 1), (0, .95, 1) and (0, .5, 1), cut at 0.9.
    values = np.array([[[-1, 0.6, 1]], [[-2, 1.8, 2]], [[0, 0.5, 1]]], np.float32)
    result = ensemble_probability(values, PAPER, "majority")
    np.testing.assert_allclose(result, [[0, 1 / 3, 1]], rtol=1e-6)
    assert ensemble_threshold(PAPER, "majority") == 0.5


def test_what_cannot_be_fused_is_refused():
    broken = samples()
    broken[1, 2, 3] = np.nan
    for ensemble in ENSEMBLES:
        with pytest.raises(ValueError, match="finite"):
            ensemble_probability(broken, MEAN, ensemble)
        with pytest.raises(ValueError, match="at least one sample"):
            ensemble_probability(samples()[:0], MEAN, ensemble)
    with pytest.raises(ConfigError, match=f"ensemble is 'median'; expected one of {', '.join(ENSEMBLES)}$"):
        ensemble_probability(samples(), MEAN, "median")


@pytest.mark.parametrize(
    ("fuse", "message"),
    [
        (lambda samples, protocol: samples[0] * 0 - 0.25, "gives values from -0.25 to -0.25; expected 0 to 1"),
        (lambda samples, protocol: samples[0] * 0 + 1.5, "gives values from 1.5 to 1.5; expected 0 to 1"),
        (lambda samples, protocol: samples[0] * np.nan, "gives values from nan to nan; expected 0 to 1"),
        (lambda samples, protocol: samples[0, :5], r"gives the shape \[5, 9\]; expected \[8, 9\]"),
        (of_masks(lambda masks: 2 * masks.max(axis=0)), "gives values from 0 to 2; expected 0 to 1"),
    ],
)
def test_an_ensemble_that_gives_no_probability_is_refused_by_name(fuse, message, monkeypatch):
    monkeypatch.setitem(ENSEMBLES._entries, "bad", fuse)
    two = Labels.create({"one": 1, "two": 2})
    for values, labels in ((samples(), Labels()), (np.stack([samples(), -samples()], axis=-1), two)):
        with pytest.raises(ConfigError, match=f"the ensemble 'bad' {message}"):
            ensemble_probability(values, MEAN, "bad", labels)


def test_roundings_of_an_ensemble_are_brought_back(monkeypatch):
    monkeypatch.setitem(ENSEMBLES._entries, "rounds", lambda samples, protocol: np.array([[-1e-7, 0.5, 1 + 1e-6]]))
    result = ensemble_probability(np.zeros((2, 1, 3), np.float32), MEAN, "rounds")
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, [[0, 0.5, 1]])

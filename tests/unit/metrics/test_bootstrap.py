import numpy as np
import pytest
from scipy import stats

from ddim_jax.metrics import bootstrap_interval


def test_agrees_with_scipy():
    values = np.random.default_rng(3).beta(8, 2, 60)
    low, high = bootstrap_interval(values, resamples=4000)
    reference = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(7))
    # Two independent bootstraps differ by their own sampling error, a small part of the interval's width.
    width = reference.confidence_interval.high - reference.confidence_interval.low
    assert low == pytest.approx(reference.confidence_interval.low, abs=0.08 * width)
    assert high == pytest.approx(reference.confidence_interval.high, abs=0.08 * width)
    assert low < values.mean() < high


def test_two_values_by_hand():
    # The mean of two draws from {0, 1} is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4.
    assert bootstrap_interval([0.0, 1.0], level=0.95) == (0.0, 1.0)
    assert bootstrap_interval([0.0, 1.0], level=0.3) == (0.5, 0.5)


def test_seed_decides_and_equal_values_leave_no_doubt():
    values = np.random.default_rng(0).normal(size=40)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    assert bootstrap_interval([0.25] * 9) == (0.25, 0.25)
    assert bootstrap_interval([0.7]) == (0.7, 0.7)


@pytest.mark.parametrize("values", [[], [0.5, np.nan], [[0.5, 0.5]]])
def test_what_has_no_mean_is_refused(values):
    with pytest.raises(ValueError, match="at least one finite number"):
        bootstrap_interval(values)


@pytest.mark.parametrize("arguments", [{"resamples": 0}, {"level": 1.0}, {"level": 0.0}])
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match="resamples must be >= 1 and level in"):
        bootstrap_interval([0.5], **arguments)


def test_groups_are_drawn_whole():
    """Two groups of three and one: both are drawn with probability 1/2, one of them twice with 1/4 each."""
    values, groups = [0.0, 0.0, 0.0, 1.0], ["a", "a", "a", "b"]
    assert bootstrap_interval(values, groups) == (0.0, 1.0)
    assert bootstrap_interval(values, groups, level=0.3) == (0.25, 0.25)
    assert bootstrap_interval(values, ["a"] * 4) == (0.25, 0.25)


def test_pictures_by_themselves_are_groups_of_one():
    values = np.random.default_rng(0).uniform(size=30)
    assert bootstrap_interval(values, list(map(str, range(100, 130)))) == bootstrap_interval(values)


def test_the_interval_over_groups_holds_the_mean_as_often_as_it_says():
    """40 slices of each of 20 volumes, of which the volume decides most; over slices it holds far less often."""
    rng, held = np.random.default_rng(1), np.zeros(2)
    groups = np.repeat(np.arange(20), 40)
    for _ in range(200):
        values = (rng.normal(size=(20, 1)) + 0.5 * rng.normal(size=(20, 40))).ravel()
        intervals = bootstrap_interval(values, groups, resamples=200), bootstrap_interval(values, resamples=200)
        held += [low <= 0 <= high for low, high in intervals]
    assert held[0] >= 170 and held[1] < 100

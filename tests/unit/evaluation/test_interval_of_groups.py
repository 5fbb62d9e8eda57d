"""The interval of a share of images in groups, against distributions that are known."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from ddim_jax.evaluation.intervals import summarise_unlikeness


def share_of_unlike(unlike, groups):
    """The interval of the share of images that are unlike, as `metrics.json` has it."""
    results = [SimpleNamespace(descriptor=2.0 * one, group=group) for one, group in zip(unlike, groups, strict=True)]
    found = summarise_unlikeness(results, SimpleNamespace(unlikeness=lambda descriptor: descriptor), "")
    assert found["share"] == np.mean(unlike)
    return found["low"], found["high"]


def test_one_more_slice_that_does_not_hold_never_makes_the_interval_narrower():
    """20 volumes of 100 slices; p^20 = 0.025 where all of them hold."""
    volumes = [f"v{number // 100}" for number in range(2000)]
    found = [share_of_unlike([False] * count + [True] * (2000 - count), volumes) for count in (0, 1, 2, 50, 100)]
    lows, highs = zip(*found, strict=True)
    assert found[0] == (pytest.approx(0.025 ** (1 / 20)), 1) and sorted(lows, reverse=True) == list(lows)
    assert lows[1] == pytest.approx(lows[0], abs=0.001) and lows[1] < lows[0]
    widths = [high - low for low, high in found]
    assert sorted(widths) == widths and min(highs) > 0.998
    # 100 slices are a volume: 19 of 20.
    assert lows[4] == pytest.approx(stats.binomtest(19, 20).proportion_ci(0.95, method="exact").low)


def test_a_part_of_a_group_that_holds_counts_as_part_of_a_trial():
    """Half of one group: the 0.025-quantile of Beta(1/2, 3/2), whose distribution function is known, and its mirror."""
    low, high = share_of_unlike([True, False] * 3, ["p"] * 6)
    assert 2 / np.pi * (np.arcsin(np.sqrt(low)) + np.sqrt(low * (1 - low))) == pytest.approx(0.025)
    assert high == pytest.approx(1 - low)
    # Of images by themselves: P(X >= 2) = 3 p^2 - 2 p^3 and P(X <= 2) = 1 - p^3 of three.
    low, high = share_of_unlike([True, True, False], "abc")
    assert 3 * low**2 - 2 * low**3 == pytest.approx(0.025) and 1 - high**3 == pytest.approx(0.025)

"""Quantiles by hand, coverage on drawn images, and bounds within what is possible."""

import numpy as np
import pytest
from scipy import stats

from ddim_jax.labels import Labels
from ddim_jax.metrics import (
    Quantiles,
    Statement,
    area_score,
    calibrated_bounds,
    class_statements,
    conformal_quantile,
    dice_score,
    images_needed,
)


@pytest.mark.parametrize(
    ("count", "coverage", "rank"),
    # ceil(10 * 0.9), ceil(20 * 0.9), ceil(21 * 0.9) = ceil(18.9), ceil(20 * 0.95), ceil(10 * 0.5)
    [(9, 0.9, 9), (19, 0.9, 18), (20, 0.9, 19), (19, 0.95, 19), (9, 0.5, 5), (9, 0.1, 1)],
)
def test_the_quantile_is_the_score_of_that_rank(count, coverage, rank):
    scores = np.random.default_rng(count).permutation(np.arange(1, count + 1) * 10.0)
    assert conformal_quantile(scores, coverage) == rank * 10


@pytest.mark.parametrize(("coverage", "needed"), [(0.9, 9), (0.95, 19), (0.99, 99), (0.5, 1), (0.7, 3), (0.1, 1)])
def test_too_few_scores_are_refused_and_their_number_is_said(coverage, needed):
    assert images_needed(coverage) == needed
    assert conformal_quantile(np.arange(needed), coverage) == needed - 1
    with pytest.raises(ValueError, match=rf"{needed - 1} images; a coverage of {coverage} needs {needed}"):
        conformal_quantile(np.zeros(needed - 1), coverage)


@pytest.mark.parametrize("coverage", [0, 1, 1.5, -0.1, float("nan"), True, "0.9", None])
def test_a_coverage_that_is_no_share_is_refused(coverage):
    with pytest.raises(ValueError, match="expected a number above 0 and below 1"):
        conformal_quantile(np.zeros(100), coverage)


def test_a_score_that_is_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        conformal_quantile([1.0] * 20 + [float("nan")], 0.9)


def test_statements_of_two_classes_by_hand():
    labels = Labels.create({"lung": 1, "heart": 2}, ignore=9)
    probability = np.zeros((2, 5, 2), np.float32)
    probability[0, :, 0] = [0.99, 0.96, 0.6, 0.06, 0.04]
    probability[1, :, 1] = [0.93, 0.9, 0.3, 0.0, 0.97]
    mask = np.array([[1, 1, 1, 0, 0], [2, 2, 0, 0, 2]], np.uint8)
    valid = np.ones((2, 5), bool)
    valid[1, 4] = False
    lung, heart = class_statements(probability, mask, [0.1, 0.2], 0.9, labels, valid)
    assert lung == Statement(area=3, inner=2, outer=4, pixels=9, doubt=0.1)
    assert heart == Statement(area=2, inner=0, outer=3, pixels=9, doubt=0.2)
    assert class_statements(probability, mask, [0.1, 0.2], 0.9, labels)[1] == Statement(3, 1, 4, 10, 0.2)


def test_scores_and_bounds_by_hand():
    said = Statement(area=100, inner=80, outer=140, pixels=1000, doubt=0.1)
    assert area_score(said, 148) == pytest.approx(48 / 32) == area_score(said, 52)  # 60 / 2 + 0.002 * 1000
    assert dice_score(said, 0.6) == pytest.approx(0.3 / 0.12)
    bounds = calibrated_bounds(said, Quantiles(area=1.5, dice=2.5))
    assert bounds == pytest.approx((52, 148, 0.6, None))
    assert calibrated_bounds(said, Quantiles(area=1000, dice=1000)) == (0, 1000, 0, None)
    assert calibrated_bounds(said, Quantiles(area=0, dice=-100)) == (100, 100, 1, None)


def test_an_empty_mask_without_doubt_still_has_an_interval():
    said = Statement(area=0, inner=0, outer=0, pixels=1000, doubt=0.0)
    assert area_score(said, 0) == 0 and area_score(said, 8) == 4
    assert calibrated_bounds(said, Quantiles(4, 1)) == pytest.approx((0, 8, 0.98, None))


def drawn(rng, count):
    """Images whose error grows with what the network says of its doubt, and their true areas."""
    widths = rng.integers(0, 400, count)
    said = [Statement(2000, 2000 - width // 2, 2000 - width // 2 + width, 10_000, 0.0) for width in widths.tolist()]
    return said, np.array([2000 + rng.standard_normal() * ((one.outer - one.inner) / 2 + 20) for one in said])


def test_the_share_that_is_covered_is_the_nominal_one_on_exchangeable_pictures():
    """2,000 images, each with a calibration of its own of 19: a binomial of 0.9 says how many are covered."""
    rng, held, trials = np.random.default_rng(0), 0, 2_000
    said, truths = drawn(rng, trials * 20)
    scores = np.array([area_score(*pair) for pair in zip(said, truths, strict=True)]).reshape(trials, 20)
    for row, one, truth in zip(scores, said[19::20], truths[19::20], strict=True):
        low, high, *_ = calibrated_bounds(one, Quantiles(conformal_quantile(row[:19], 0.9), 0.0))
        held += low - 1e-6 <= truth <= high + 1e-6
    low, high = stats.binom.interval(0.999, trials, 0.9)  # k / (n + 1) = 18 / 20, exactly
    assert low <= held <= high


def test_scores_of_groups_by_hand():
    """Three groups: 1/4 of the weight each, in equal parts, and 1/4 at infinity."""
    scores, groups = [5.0, 1.0, 2.0, 3.0, 4.0, 6.0], list("abbbbc")
    # From 1 on the weights sum to 1/16, 2/16, 3/16, 4/16 (4.0), 8/16 (5.0), 12/16 (6.0).
    found = [conformal_quantile(scores, coverage, groups) for coverage in (0.06, 0.0625, 0.1, 0.25, 0.3, 0.5, 0.75)]
    assert found == [1, 1, 2, 4, 5, 5, 6]
    with pytest.raises(ValueError, match=r"^3 groups of images .*; a coverage of 0.8 needs 4 to be calibrated"):
        conformal_quantile(scores, 0.8, groups)


@pytest.mark.parametrize("coverage", [0.5, 0.9, 0.95])
def test_pictures_by_themselves_are_groups_of_one(coverage):
    scores = np.random.default_rng(0).uniform(size=39)
    assert conformal_quantile(scores, coverage, list(map(str, range(39)))) == conformal_quantile(scores, coverage)


def test_a_picture_of_another_group_is_covered_as_often_as_nominal():
    """Volumes of 1 to 30 slices, and as many times one slice of another volume; slices by themselves fall short."""
    rng, held, trials = np.random.default_rng(2), np.zeros(2), 1000
    for _ in range(trials):
        sizes = rng.integers(1, 31, 9)
        groups = np.repeat(np.arange(9), sizes)
        scores = rng.normal(size=9)[groups] + 0.2 * rng.normal(size=len(groups))
        further = rng.normal() + 0.2 * rng.normal()
        held += [further <= conformal_quantile(scores, 0.9, own) for own in (groups, None)]
    assert held[0] >= stats.binom.ppf(0.001, trials, 0.9)
    assert held[1] < stats.binom.ppf(0.001, trials, 0.9)


def test_intervals_are_narrow_where_doubt_is_small():
    rng = np.random.default_rng(1)
    said, truths = drawn(rng, 4000)
    quantile = conformal_quantile([area_score(*pair) for pair in zip(said, truths, strict=True)], 0.9)
    more, true_areas = drawn(rng, 4000)
    bounds = np.array([calibrated_bounds(one, Quantiles(quantile, 0.0))[:2] for one in more])
    widths, doubt = bounds[:, 1] - bounds[:, 0], np.array([one.outer - one.inner for one in more])
    held = (bounds[:, 0] <= true_areas) & (true_areas <= bounds[:, 1])
    sure, unsure = doubt < 100, doubt > 300
    assert widths[sure].mean() < 0.35 * widths[unsure].mean()
    for part in (sure, unsure):  # the doubt is to scale, so that each half is covered
        assert abs(held[part].mean() - 0.9) < 0.03
    constant = 2 * np.quantile(np.abs(truths - 2000), 0.9)  # of the same coverage, whatever the doubt
    assert widths.mean() < 0.9 * constant


def test_a_quantile_of_nan_and_names_of_other_groups_are_refused():
    with pytest.raises(ValueError, match="a quantile is NaN"):
        calibrated_bounds(Statement(5, 3, 9, 100, 0.1), Quantiles(float("nan"), 0.5))
    with pytest.raises(ValueError, match="there are 30 names of groups and 9 scores; expected as many"):
        conformal_quantile([float(score) for score in range(9)], 0.9, [str(name) for name in range(30)])

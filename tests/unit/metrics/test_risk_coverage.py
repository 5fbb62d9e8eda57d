import itertools

import numpy as np
import pytest

from ddim_jax.metrics import risk_coverage


def test_four_images_by_hand():
    result = risk_coverage([0.4, 0.1, 0.2, 0.3], [0.5, 0.9, 0.7, 0.8])
    np.testing.assert_array_equal(result.coverages, [1, 3 / 4, 1 / 2, 1 / 4])
    # Removed in turn: .5, .8, .7. In the best order: .5, .7, .8.
    np.testing.assert_allclose(result.dice, [2.9 / 4, 2.4 / 3, 1.6 / 2, 0.9])
    np.testing.assert_allclose(result.best_dice, [2.9 / 4, 2.4 / 3, 1.7 / 2, 0.9])
    assert result.area == pytest.approx((0.725 + 0.8 + 0.8 + 0.9) / 4)
    assert result.best_area == pytest.approx((0.725 + 0.8 + 0.85 + 0.9) / 4)
    assert result.unordered_area == pytest.approx(0.725)
    assert result.gain == pytest.approx((0.80625 - 0.725) / (0.81875 - 0.725))


@pytest.mark.parametrize(("count", "kept"), [(1, 1), (4, 4), (5, 4), (6, 5), (10, 8), (35, 28), (100, 80)])
def test_at_four_fifths_the_number_of_images_is_rounded_up(count, kept):
    dice = np.linspace(1.0, 0.5, count)
    result = risk_coverage(np.arange(count), dice)
    assert result.kept_images == kept
    assert result.kept_dice == pytest.approx(dice[:kept].mean())


def test_doubt_in_the_order_of_dice_is_the_best_and_in_the_reverse_order_misleads():
    dice = np.random.default_rng(0).random(20)
    best = risk_coverage(1 - dice, dice)
    np.testing.assert_allclose(best.dice, best.best_dice)
    assert best.gain == pytest.approx(1.0)
    assert risk_coverage(dice, dice).gain < -0.5


def test_images_removed_in_any_order_keep_the_mean():
    """The mean of the curve over every order there is, which is what is called no order."""
    dice = np.array([0.2, 0.9, 0.6, 0.7])
    areas = [risk_coverage(order, dice).area for order in itertools.permutations(range(4))]
    assert np.mean(areas) == pytest.approx(risk_coverage(range(4), dice).unordered_area)
    assert risk_coverage([3, 3, 3, 3], dice).gain == pytest.approx(0.0)


def test_ties_give_the_mean_over_all_orders_of_the_tied():
    doubts, dice = [0.5, 0.1, 0.5, 0.3, 0.5], np.array([0.2, 0.9, 0.6, 0.7, 0.1])
    curves = []
    for tied in itertools.permutations((0, 2, 4)):
        kept = [1, 3, *tied]  # least doubtful first
        curves.append([dice[kept[:n]].mean() for n in (5, 4, 3, 2, 1)])
    np.testing.assert_allclose(risk_coverage(doubts, dice).dice, np.mean(curves, axis=0))


@pytest.mark.parametrize("dice", [[0.8], [0.7, 0.7, 0.7], [0.1] * 7])
def test_without_a_difference_there_is_nothing_to_gain(dice):
    result = risk_coverage(np.arange(len(dice)), dice)
    assert result.gain is None
    assert [result.area, result.best_area, result.unordered_area] == pytest.approx([dice[0]] * 3)


@pytest.mark.parametrize(
    ("doubts", "dice", "message"),
    [
        ([], [], r"shapes \(0,\)"),
        ([1, 2], [1], r"\(2,\) and \(1,\)"),
        ([np.nan], [1], "finite"),
        ([1], [np.inf], "finite"),
    ],
)
def test_lists_that_make_no_curve_are_refused(doubts, dice, message):
    with pytest.raises(ValueError, match=message):
        risk_coverage(doubts, dice)

import numpy as np
import pytest
from scipy import ndimage

from ddim_jax.labels import Labels
from ddim_jax.metrics import DoubtScale, fit_doubt, risk_coverage, scale_doubt, soft_dice_uncertainty


def disc(radius=6, side=32):
    rows, columns = np.mgrid[:side, :side] - side / 2
    return (np.hypot(rows, columns) < radius).astype(float)


def test_four_pixels_by_hand():
    # One pixel drawn, expected with certainty; 1.75 pixels expected in all: 1 - (2 + 1) / (1.75 + 1 + 1).
    probability, mask = np.array([[1.0, 0.5], [0.25, 0.0]]), np.array([[1, 0], [0, 0]], np.uint8)
    assert soft_dice_uncertainty(probability, mask) == pytest.approx(0.2)
    # All but the last drawn: 1 - (3.5 + 1) / (1.75 + 3 + 1).
    assert soft_dice_uncertainty(probability.astype(np.float32), probability > 0) == pytest.approx(1 - 4.5 / 5.75)


def test_the_certain_are_not_doubted_and_what_is_missed_is():
    for mask in (disc(), np.zeros((4, 4)), np.ones((4, 4))):
        assert soft_dice_uncertainty(mask, mask) == 0.0
    assert soft_dice_uncertainty(np.full((16, 16), 0.5), np.zeros((16, 16))) == pytest.approx(128 / 129)


def test_the_more_a_mask_is_blurred_the_more_doubtful_it_is():
    blurred = [ndimage.gaussian_filter(disc(), width) for width in (0.5, 1.0, 2.0, 3.0)]
    doubts = [soft_dice_uncertainty(p, p > 0.5) for p in blurred]
    assert 0 < doubts[0] < doubts[1] < doubts[2] < doubts[3] < 1


def test_an_empty_mask_is_doubted_by_the_number_of_pixels_expected():
    empty = np.zeros((10, 10))
    for expected in (0.01, 1.0, 30.0):
        assert soft_dice_uncertainty(empty + expected / 100, empty) == pytest.approx(expected / (1 + expected))


def test_one_doubtful_organ_and_four_of_them_are_equally_doubtful():
    """Their mean spread over the image is four times as large."""
    one = np.zeros((64, 64))
    one[:32, :32] = ndimage.gaussian_filter(disc(), 1.5)
    four = np.tile(one[:32, :32], (2, 2))
    assert soft_dice_uncertainty(four, four > 0.5) == pytest.approx(soft_dice_uncertainty(one, one > 0.5), rel=0.02)
    spread = [np.sqrt(p * (1 - p)).mean() for p in (one, four)]
    assert spread[1] == pytest.approx(4 * spread[0])


def test_it_is_the_expected_dice_of_masks_drawn_from_the_probabilities():
    rng = np.random.default_rng(0)
    probability = ndimage.gaussian_filter(disc(), 2.0)
    mask = probability > 0.5
    truths = rng.random((400, *mask.shape)) < probability
    dice = 2 * (truths & mask).sum((1, 2)) / (truths.sum((1, 2)) + mask.sum())
    assert 1 - soft_dice_uncertainty(probability, mask) == pytest.approx(dice.mean(), abs=0.005)


@pytest.mark.parametrize("mask", [np.zeros((4, 3)), np.zeros(4)])
def test_maps_of_two_sizes_are_refused(mask):
    with pytest.raises(ValueError, match=r"one size; found \(4, 4\) and"):
        soft_dice_uncertainty(np.zeros((4, 4)), mask)


def test_the_odds_are_multiplied_by_hand():
    # 1 to 4 becomes 3 to 4; the certain stay certain.
    assert scale_doubt([0.0, 0.2, 0.5, 1.0], 3.0).tolist() == pytest.approx([0, 3 / 7, 3 / 4, 1])
    assert scale_doubt(0.1, 1.0) == 0.1


def test_empty_masks_are_doubted_as_often_as_they_were_wrong_by_hand():
    # Of three empty masks of the first class two were wrong, none of the second was empty.
    drawn, missed = np.ones((5, 2), bool), np.full((5, 2), 0.5)
    drawn[:3, 0], missed[:3, 0] = False, [0, 1, 1]
    doubts = np.full((5, 2), 0.25)
    scale = fit_doubt(doubts, drawn, missed)
    # (2 + 1/4) / (3 + 1) = 9/16, of which a doubt of its own of 1/4 leaves 1 - (1 - 9/16) / (1 - 1/4) to be made good.
    assert scale.of_empty == pytest.approx((5 / 12, 1 / 2)) and scale.odds_of_empty == (1, 1)
    assert scale.odds == pytest.approx(3.0)  # 1 to 3 becomes 1 to 1
    assert scale.of_image([0.25, 0.25], [False, True]) == pytest.approx((9 / 16 + 0.5) / 2)
    # A certain one that is not drawn, and one that is; and one of the class that was never empty.
    assert scale.of_image([0.0, 0.25], [False, True]) == pytest.approx((5 / 12 + 0.5) / 2)
    assert scale.of_image([0.5, 0.0], [False, True]) == pytest.approx((1 - 7 / 12 * 0.5) / 2)
    assert scale.of_image([0.0, 0.5], [True, False]) == pytest.approx(0.75 / 2)
    doubts[:3, 0] = [0.0, 0.1, 0.5]
    scale = fit_doubt(doubts, drawn, missed)
    assert np.mean([scale.of_image([d, 0], [False, True]) * 2 for d in doubts[:3, 0]]) == pytest.approx(2.2 / 4)
    labels = Labels.create({"lung": 1, "heart": 2})
    assert DoubtScale.from_record(scale.as_record(labels), labels) == scale
    # A network that doubts them more than they are wrong counts as half an image: (2 + 1/2) / 4, odds of 5 to 3 for 9.
    doubts[:3, 0] = 0.9
    scale = fit_doubt(doubts, drawn, missed)
    assert scale.of_empty[0] == 0 and scale.odds_of_empty == pytest.approx((5 / 27, 1))
    assert scale.of_image([0.9, 0.0], [False, True]) == pytest.approx(5 / 8 / 2)
    assert DoubtScale.from_record(scale.as_record(labels), labels) == scale
    doubts[:3, 0] = 1.0  # no factor lowers that, and nothing raises it
    assert fit_doubt(doubts, drawn, missed).of_image([1.0, 0.0], [False, True]) == 0.5


def test_a_scale_of_an_earlier_version_judges_as_it_did():
    record = {"odds": 2.0, "of_empty": {"foreground": 0.2}}
    scale = DoubtScale.from_record(record, Labels())
    assert scale == DoubtScale(2.0, (0.2,), (1.0,))
    assert scale.of_image([0.5], [False]) == pytest.approx(0.6)
    assert scale.of_image([0.5], [True]) == pytest.approx(2 / 3)


def test_right_empty_masks_leave_the_doubt_of_the_others_as_it_is():
    doubts, drawn = np.full((100, 1), 0.001), np.zeros((100, 1), bool)
    doubts[:10], drawn[:10] = 0.1, True
    scale = fit_doubt(doubts, drawn, np.where(drawn, 0.1, 0.0))
    # Ninety that are right: 0.001 / 91, to which the odds follow.
    assert scale.odds == pytest.approx(1.0) and scale.of_empty == (0.0,)
    assert scale.odds_of_empty == pytest.approx([0.999 / (91 - 0.001)])
    assert scale.of_image([0.1], [True]) == pytest.approx(0.1)
    assert fit_doubt(doubts, drawn & False, np.zeros((100, 1))).odds == 1


@pytest.mark.parametrize("background", [1e-6, 1e-3, 4.0])
@pytest.mark.parametrize("wrong", [0, 2])
def test_calibration_of_drawn_and_empty_masks_keeps_what_the_doubt_sorts(background, wrong):
    """Sixty masks with a pixel and forty without, of which the network expects few pixels or several."""
    rng = np.random.default_rng(0)
    drawn = np.arange(100) < 60
    expected = background * rng.uniform(0.5, 1.5, 100)
    expected[60 : 60 + wrong] *= 10
    doubts = np.where(drawn, rng.uniform(0.02, 0.2, 100), expected / (expected + 1))
    missed = np.where(drawn, np.clip(doubts / 2 * rng.uniform(0.7, 1.3, 100), 0, 1), 0.0)
    missed[60 : 60 + wrong] = 1
    scale = fit_doubt(doubts[:, None], drawn[:, None], missed[:, None])
    after = [scale.of_image([doubt], [has]) for doubt, has in zip(doubts, drawn, strict=True)]
    # The prior is at most half an image of 41, on the forty of a hundred.
    assert np.mean(after) == pytest.approx(missed.mean(), abs=0.4 / 41)
    assert risk_coverage(after, 1 - missed).gain > risk_coverage(doubts, 1 - missed).gain - 0.01
    if background > 1:
        assert doubts.mean() > 5 * np.mean(after) and risk_coverage(doubts, 1 - missed).gain < 0.8


def test_the_doubt_becomes_what_is_missed_by_hand():
    # At 3 the doubts 1/5 and 1/2 become 3/7 and 3/4: 33/56 on average.
    yes = np.ones((2, 1), bool)
    assert fit_doubt([[0.2], [0.5]], yes, [[1.0], [33 / 28 - 1]]).odds == pytest.approx(3.0)
    doubts, yes = np.random.default_rng(0).uniform(0, 0.4, (50, 3)), np.ones((50, 3), bool)
    for odds in (0.2, 1.0, 40.0):
        assert fit_doubt(doubts, yes, scale_doubt(doubts, odds)).odds == pytest.approx(odds)


def test_what_no_factor_reaches_ends_at_the_nearest():
    # Certain masks that miss: no factor makes them doubtful. And doubtful ones that miss nothing.
    yes = [[True]]
    assert fit_doubt([[0.0]], yes, [[0.5]]).odds == 100 and fit_doubt([[0.3]], yes, [[0.0]]).odds == 0.01
    assert fit_doubt([[0.3]], yes, [[1.0]]).odds == 100


def test_nan_and_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="a probability is NaN"):
        soft_dice_uncertainty(np.full((2, 2), np.nan), np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"expected three arrays \[N, K\]; found \(1, 1\), \(1, 1\) and \(2, 1\)"):
        fit_doubt([[0.2]], [[True]], [[0.5], [0.6]])

"""STAPLE against a case worked out by hand, independent versions, the maximum, and raters whose skill is known."""

import numpy as np
import numpy_staple
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from ddim_jax.aggregation import staple
from ddim_jax.aggregation.ensembles.staple import MAX_ITERATIONS


def test_three_equal_raters_by_hand():
    """Seven pixels of each unanimity and three of each dissent of one rater, for and against.

    By symmetry the prior is 1/2 and all p and q are one number. A pixel with one dissent has W = p, a unanimous one
    W = p^3 / (p^3 + (1 - p)^3), and half of the 32 pixels, 16, are foreground in sum. A rater marks 7 unanimous pixels,
    6 in the majority and 3 alone (W = 1 - p): 16 p = 7 W + 6 p + 3 (1 - p), which p = 3/4 with W = 27/28 solves.
    """
    dissents = [(1, 1, 0), (1, 0, 1), (0, 1, 1), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    votes = np.array([(1, 1, 1)] * 7 + [(0, 0, 0)] * 7 + dissents * 3).T
    result = staple(votes.astype(np.uint8))
    np.testing.assert_allclose(result.sensitivity, 3 / 4, atol=1e-4)
    np.testing.assert_allclose(result.specificity, 3 / 4, atol=1e-4)
    expected = [27 / 28] * 7 + [1 / 28] * 7 + [3 / 4, 3 / 4, 3 / 4, 1 / 4, 1 / 4, 1 / 4] * 3
    np.testing.assert_allclose(result.probability, expected, atol=1e-4)
    assert result.iterations == 2  # by chance the first is the solution


def raters(seed, sensitivity, specificity, shape=(12, 15), share=0.3):
    rng = np.random.default_rng(seed)
    truth = rng.random(shape) < share
    skills = zip(sensitivity, specificity, strict=True)
    marked = [np.where(truth, rng.random(shape) < p, rng.random(shape) >= q) for p, q in skills]
    return truth, np.stack(marked).astype(np.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_independent_version(seed):
    _, masks = raters(seed, [0.95, 0.8, 0.9, 0.7], [0.97, 0.9, 0.75, 0.95])
    probability, p, q = numpy_staple.staple(masks)
    result = staple(masks)
    assert result.probability.shape == masks.shape[1:]
    np.testing.assert_allclose(result.sensitivity, p, atol=1e-4)
    np.testing.assert_allclose(result.specificity, q, atol=1e-4)
    np.testing.assert_allclose(result.probability, probability, atol=1e-4)
    assert probability.std() > 0.05 and np.ptp(p) > 0.1  # the raters differ, and it matters


def discs(radii, size=33):
    rows, columns = np.mgrid[:size, :size] - size // 2
    return np.stack([rows**2 + columns**2 <= radius**2 for radius in radii]).astype(np.uint8)


def poor(seed=0):
    return raters(seed, [0.6, 0.55, 0.65], [0.6, 0.7, 0.55], shape=(32, 32), share=0.25)[1]


DIVERSE = {
    "nested discs": discs([3, 4, 5.3, 6.8, 8]),
    "nested discs, wide": discs([2, 4, 6, 8, 10]),
    "three poor raters": poor(),
    "one good of three": raters(3, [0.99, 0.6, 0.7], [0.99, 0.8, 0.6], shape=(32, 32))[1],
}


@pytest.mark.parametrize("masks", DIVERSE.values(), ids=DIVERSE)
def test_equals_the_filter_of_simpleitk(masks):
    import SimpleITK  # not at the head, for it takes a second: of the test processes one needs it

    itk = SimpleITK.STAPLEImageFilter()
    itk.SetForegroundValue(1)
    itk.SetMaximumIterations(MAX_ITERATIONS)
    probability = SimpleITK.GetArrayFromImage(itk.Execute([SimpleITK.GetImageFromArray(mask) for mask in masks]))
    result = staple(masks)
    assert result.iterations < MAX_ITERATIONS and itk.GetElapsedIterations() < MAX_ITERATIONS
    # Of poor raters the likelihood is so flat that the two stop a little apart.
    np.testing.assert_allclose(result.probability, probability, atol=1e-3)
    np.testing.assert_allclose(result.sensitivity, itk.GetSensitivity(), atol=1e-3)
    np.testing.assert_allclose(result.specificity, itk.GetSpecificity(), atol=1e-3)


@pytest.mark.parametrize("masks", DIVERSE.values(), ids=DIVERSE)
def test_reaches_the_maximum_of_the_likelihood(masks):
    """The maximum that a general optimiser finds from the best of three starts, on the logits of p and q."""
    raters, prior = len(masks), masks.mean()
    votes, pixels = np.unique(masks.reshape(raters, -1).astype(float), axis=1, return_counts=True)

    def negative_log_likelihood(logits):
        p, q = logits[:raters, None], logits[raters:, None]
        inside = np.log(prior) + (votes * log_expit(p) + (1 - votes) * log_expit(-p)).sum(axis=0)
        outside = np.log(1 - prior) + (votes * log_expit(-q) + (1 - votes) * log_expit(q)).sum(axis=0)
        either = np.logaddexp(inside, outside)
        foreground = pixels * np.exp(inside - either)
        gradient = [foreground @ (votes - expit(p)).T, (pixels - foreground) @ (1 - votes - expit(q)).T]
        return -pixels @ either, -np.concatenate(gradient)

    starts = np.random.default_rng(0).uniform(0.5, 3.0, (3, 2 * raters))  # raters that are better than chance
    best = min(
        (minimize(negative_log_likelihood, start, jac=True, method="L-BFGS-B") for start in starts), key=lambda r: r.fun
    )
    result = staple(masks)
    assert result.log_likelihood == pytest.approx(-best.fun, abs=0.01)
    found = np.concatenate([result.sensitivity, result.specificity])
    np.testing.assert_allclose(found, expit(best.x), atol=0.02)


def test_nested_discs_do_not_stop_at_the_majority():
    """The smaller discs are taken for timid raters of the fourth, not the larger for bold ones of the third."""
    masks = DIVERSE["nested discs"]
    assert (masks.mean(axis=0) > 0.5).sum() == masks[2].sum() == 89
    result = staple(masks)
    np.testing.assert_array_equal(result.probability > 0.5, masks[3] > 0)
    assert masks[3].sum() == 145


def test_finds_the_skill_of_the_raters_and_beats_their_majority():
    sensitivity, specificity = [0.98, 0.6, 0.65, 0.6, 0.7], [0.99, 0.9, 0.85, 0.8, 0.9]
    truth, masks = raters(5, sensitivity, specificity, shape=(200, 200))
    result = staple(masks)
    np.testing.assert_allclose(result.sensitivity, sensitivity, atol=0.02)
    np.testing.assert_allclose(result.specificity, specificity, atol=0.02)
    wrong, wrong_by_majority = ((found != truth).mean() for found in (result.probability > 0.5, masks.mean(0) > 0.5))
    assert wrong < 0.5 * wrong_by_majority


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("count", [1, 4])
def test_masks_without_foreground_or_background(value, count):
    result = staple(np.full((count, 3, 3), value, np.uint8))
    np.testing.assert_array_equal(result.probability, np.full((3, 3), value))
    assert np.isfinite(result.sensitivity).all() and np.isfinite(result.specificity).all()


def test_counts_stand_for_pixels_with_the_same_votes():
    _, masks = raters(1, [0.95, 0.8, 0.9], [0.97, 0.9, 0.75])
    votes, inverse, counts = np.unique(masks.reshape(3, -1), axis=1, return_inverse=True, return_counts=True)
    votes, counts = np.append(votes, [[1], [0], [1]], axis=1), np.append(counts, 0)  # the last is nowhere
    expected, result = staple(masks), staple(votes, counts)
    np.testing.assert_allclose(result.probability[inverse.ravel()], expected.probability.ravel(), atol=1e-4)
    np.testing.assert_allclose(result.sensitivity, expected.sensitivity, atol=1e-4)
    np.testing.assert_allclose(result.specificity, expected.specificity, atol=1e-4)


def test_raters_that_agree_are_believed():
    mask = np.random.default_rng(0).integers(0, 2, (6, 7), np.uint8)
    for count in (1, 3):
        np.testing.assert_allclose(staple(np.stack([mask] * count)).probability, mask, atol=1e-3)

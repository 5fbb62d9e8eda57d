"""Samples of several classes made into probabilities and masks."""

import numpy as np
import pytest

from ddim_jax.aggregation import PROTOCOLS, ensemble_probability, ensemble_threshold, threshold_mask, uncertainty
from ddim_jax.aggregation.ensembles.staple import staple
from ddim_jax.labels import Labels
from ddim_jax.preprocessing import class_estimates

EXCLUSIVE = Labels.create({"lung": 1, "heart": 2})
OVERLAPPING = Labels.create({"lung": [1, 3], "heart": [2, 3]}, multilabel=True)
MEAN = PROTOCOLS["mean"]


def samples(*votes):
    """[S, 1, pixels, K]: of each sample the class of each pixel, 0 for none, as sure estimates."""
    return np.stack([[[[1.0 if v == k else -1.0 for k in (1, 2)] for v in one]] for one in votes]).astype(np.float32)


def test_the_likeliest_of_exclusive_classes_is_taken_the_background_among_them():
    probability = np.array([[[0.4, 0.35], [0.3, 0.3], [0.2, 0.7], [0.1, 0.2], [0.45, 0.1]]], np.float32)
    assert ensemble_threshold(MEAN, "mean", EXCLUSIVE) is None
    np.testing.assert_array_equal(threshold_mask(probability, None, EXCLUSIVE), [[1, 0, 2, 0, 0]])
    np.testing.assert_array_equal(threshold_mask(probability, 0.3, EXCLUSIVE), [[1, 0, 2, 0, 1]])
    np.testing.assert_array_equal(threshold_mask(probability, 0.9, EXCLUSIVE), [[0, 0, 0, 0, 0]])


def test_classes_that_may_overlap_are_cut_one_by_one():
    probability = np.array([[[0.9, 0.8], [0.6, 0.1], [0.2, 0.7], [0.5, 0.5]]], np.float32)
    threshold = ensemble_threshold(MEAN, "mean", OVERLAPPING)
    assert threshold == 0.5
    mask = threshold_mask(probability, threshold, OVERLAPPING)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, [[3, 1, 2, 0]])


def test_ensembles_fuse_each_class_against_the_rest():
    drawn = samples([1, 1, 2, 0], [1, 2, 2, 0], [1, 1, 0, 0])
    for ensemble in ("mean", "majority"):
        found = ensemble_probability(drawn, MEAN, ensemble)
        np.testing.assert_allclose(found[0], [[1, 0], [2 / 3, 1 / 3], [0, 2 / 3], [0, 0]], atol=1e-6)
    staple = ensemble_probability(drawn, MEAN, "staple")
    for k in range(2):
        np.testing.assert_array_equal(staple[..., k], ensemble_probability(drawn[..., k], MEAN, "staple"))
    np.testing.assert_array_equal(threshold_mask(staple, None, EXCLUSIVE), [[1, 1, 2, 0]])


def test_exclusive_classes_vote_with_the_samples_own_masks():
    """Samples whose masks are 1, 1 and 0 at one pixel, none of them with a class above a half, and 2, 0 and 1."""
    shares = np.array(
        [[[[0.4, 0.35], [0.3, 0.4]]], [[[0.45, 0.2], [0.2, 0.3]]], [[[0.2, 0.3], [0.9, 0.1]]]], np.float32
    )
    drawn = 2 * shares - 1
    own = [threshold_mask(one, None, EXCLUSIVE)[0].tolist() for one in shares]
    assert own == [[1, 2], [1, 0], [0, 1]]
    found = ensemble_probability(drawn, MEAN, "majority", EXCLUSIVE)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[[2 / 3, 0], [1 / 3, 1 / 3]]], atol=1e-6)
    np.testing.assert_array_equal(threshold_mask(found, None, EXCLUSIVE), [[1, 0]])
    staple = ensemble_probability(drawn, MEAN, "staple", EXCLUSIVE)
    for k in (1, 2):
        one_hot = np.where(np.array(own)[:, None] == k, 1.0, -1.0)
        np.testing.assert_array_equal(staple[..., k - 1], ensemble_probability(one_hot, MEAN, "staple"))
    # Structures that overlap are cut one by one, at a half.
    assert ensemble_probability(drawn, MEAN, "majority", OVERLAPPING)[0, 0].tolist() == [0, 0]


@pytest.mark.parametrize("ensemble", ["mean", "mean_of_each", "majority", "staple"])
def test_exclusive_classes_never_sum_to_more_than_one(ensemble):
    """Random channels of a network, the background's among them, that agree in part; the likeliest stays."""
    labels, rng = Labels.create({"lung": 1, "heart": 2, "aorta": 3}), np.random.default_rng(0)
    for count in (2, 3, 5) * 10:
        x0 = rng.normal(0, 1, (1, 6, 6, 4)) + rng.normal(0, 1, (count, 6, 6, 4))
        drawn = class_estimates(x0.astype(np.float32), labels)
        found = ensemble_probability(drawn, MEAN, ensemble, labels)
        assert found.min() >= 0 and found.sum(axis=-1).max() <= 1 + 1e-6
        if ensemble == "staple":
            masks = np.stack([threshold_mask((one + 1) / 2, None, labels) for one in drawn])
            each = np.stack([staple(masks == k).probability for k in (1, 2, 3)], axis=-1)
            total = each.sum(axis=-1, keepdims=True)
            np.testing.assert_allclose(found, np.where(total > 1, each / total, each), atol=1e-6)


def test_the_uncertainty_of_a_pixel_is_that_of_its_least_sure_class():
    drawn = samples([1, 1, 0, 0, 0], [1, 2, 0, 1, 2])
    np.testing.assert_allclose(uncertainty(drawn), [[0, 0.5, 0, 0.5, 0.5]])


def test_the_papers_protocol_cuts_each_class_at_its_own_stretch():
    drawn = samples([1, 1, 2, 0])
    probability = ensemble_probability(0.5 * drawn, PROTOCOLS["paper"])
    np.testing.assert_array_equal(probability[0], [[1, 0], [1, 0], [0, 1], [0, 0]])
    threshold = ensemble_threshold(PROTOCOLS["paper"], "mean", EXCLUSIVE)
    np.testing.assert_array_equal(threshold_mask(probability, threshold, EXCLUSIVE), [[1, 1, 2, 0]])

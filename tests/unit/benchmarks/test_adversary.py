"""Attacks on networks whose gradient is known."""

import jax.numpy as jnp
import numpy as np
import pytest
from segmenters import SIZE, MixesNoise, config, loaded_network, red_network

from benchmarks.quality import adversary
from ddim_jax.inference import Segmenter
from ddim_jax.labels import Labels
from ddim_jax.preprocessing import Prepared


def prepared(seed=0):
    pixels = np.random.default_rng(seed).integers(60, 190, (SIZE, SIZE, 3), np.uint8)
    return Prepared(pixels, (SIZE, SIZE), np.uint32(5))


def test_the_loss_is_that_of_the_mean_probability():
    samples = jnp.array([[[0.5, -0.5]], [[0.1, -2.0]]])  # probabilities .65 and (.25 + 0)/2
    x0 = jnp.array([[[1.0], [-1.0]]])
    entropy = -(np.log(0.65) + np.log(1 - 0.125)) / 2
    soft_dice = (2 * 0.65 + 1) / (0.65 + 0.125 + 1 + 1)
    assert adversary.missed(samples, x0) == pytest.approx(entropy + 1 - soft_dice, rel=1e-5)
    classes = Labels(("a", "b"), ((1,), (2,)))
    shares = 2 * jnp.array([[[[0.7, 0.1]]]]) - 1  # background .2
    truth = jnp.array([[[-1.0, 1.0, -1.0]]])
    dices = (2 * 0.7 + 1) / (0.7 + 1 + 1), 1 / (0.1 + 1)
    expected = -np.log(0.7) + 1 - np.mean(dices)
    assert adversary.missed(shares, truth, classes) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_a_network_that_reads_red_is_attacked_in_red_alone(name):
    network = red_network(steps=2, samples=2)
    segmenter = Segmenter(**network._asdict())
    truth = np.zeros((SIZE, SIZE), np.uint8)
    truth[:8] = 1
    own = prepared()
    attack = adversary.attacks(network, segmenter.options())[name]
    changed = attack(own, truth, 4).astype(int) - own.pixels
    # What is in the mask loses red, what is not gains it, by all that is allowed.
    np.testing.assert_array_equal(changed[:8, :, 0], -4)
    np.testing.assert_array_equal(changed[8:, :, 0], 4)
    if name == "fgsm":
        np.testing.assert_array_equal(changed[..., 1:], 0)
    else:  # from a random start, of which nothing leads away
        assert np.abs(changed).max() == 4


def test_attacks_stay_within_the_levels_of_a_file():
    pixels = np.uint8(np.random.default_rng(0).integers(0, 2, (4, 4, 3)) * 255)
    for away in (1.0, -1.0):

        def gradient(seen, away=away):
            return np.float32(np.sum(away * seen)), np.full(seen.shape, away, np.float32)

        expected = np.clip(pixels.astype(int) + int(away) * 3, 0, 255)
        np.testing.assert_array_equal(adversary.fgsm(gradient, pixels, 3), expected)
        np.testing.assert_array_equal(adversary.pgd(gradient, pixels, 3), expected)


def test_pgd_keeps_the_restart_of_the_largest_loss():
    """A loss with two hills, of which the lower one is left by no step: the better restart is on the other."""
    pixels = np.full((1, 1, 1), 100, np.uint8)

    def gradient(seen):
        value = float(seen[0, 0, 0]) - 100
        return np.float32(abs(value) + (value < 0)), np.full((1, 1, 1), 1.0 if value > 0 else -1.0, np.float32)

    starts = np.random.default_rng(0).uniform(-4, 4, 20)
    first_on_the_higher = int(np.argmax(starts < 0))
    assert first_on_the_higher > 0
    found = [int(adversary.pgd(gradient, pixels, 4, restarts=n)[0, 0, 0]) for n in (1, first_on_the_higher + 1)]
    assert found == [104, 96]


def test_the_gradient_goes_through_every_step_of_the_sampler():
    network = loaded_network(MixesNoise(), {}, config(steps=3, samples=2, flips=True))
    options = Segmenter(**network._asdict()).options()
    truth = np.random.default_rng(1).integers(0, 2, (SIZE, SIZE), np.uint8)
    own = prepared()
    gradients = {}
    for one_step in (False, True):
        of = adversary.loss_gradient(network, options, one_step=one_step)(own, truth)
        seen = own.pixels.astype(np.float32)
        gradients[one_step] = gradient = of(seen)[1]
        for y, x in ((0, 0), (3, 9), (15, 15)):
            moved = np.zeros_like(seen)
            moved[y, x, 0] = 4.0
            numeric = (of(seen + moved)[0] - of(seen - moved)[0]) / 8.0
            np.testing.assert_allclose(gradient[y, x, 0], numeric, rtol=0.05, atol=1e-6)
    assert np.abs(gradients[False] - gradients[True]).max() > 0.2 * np.abs(gradients[True]).max()

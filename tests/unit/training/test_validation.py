"""The validator with networks whose answers are known."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from loaded_arrays import load_arrays

from ddim_jax.data import Example, Subset
from ddim_jax.diffusion import DiffusionProcess, DirectProcess
from ddim_jax.sampling_options import SamplingOptions
from ddim_jax.training.validation import Validator, validation_options, validation_rows

SIZE = 8
ROWS = [0, 2, 3, 4, 6]  # five of seven, evenly: 0, 1.5, 3, 4.5, 6, halves to the even row


class Pictures:
    """Seven images."""

    name = "pictures"

    def __init__(self):
        self.ids = tuple("abcdefg")
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 256, (7, SIZE, SIZE, 3), np.uint8)
        self.masks = (self.images[..., 0] > rng.integers(60, 200, (7, 1, 1))).astype(np.uint8)

    def __len__(self):
        return 7

    def __getitem__(self, index):
        return Example(self.ids[index], self.images[index], self.masks[index])


class ReadsRed(nn.Module):
    """x_0 = gain * red, whatever the noise."""

    def __call__(self, noisy_mask, image, t):
        return self.variables["params"]["gain"] * image[..., :1]


class ShowsNoise(nn.Module):
    """x_0 = the noisy mask divided by t + 1."""

    def __call__(self, noisy_mask, image, t):
        return noisy_mask / (t[:, None, None, None] + 1.0)


def validator(model, source=None, *, count=5, batch_size=2, steps=1, seed=0, prediction="x0", process=None):
    if process is None:
        process = DiffusionProcess.create(prediction=prediction, loss="mse", num_train_timesteps=10)
    source = source or Pictures()
    pictures = load_arrays(Subset(source, validation_rows(len(source), count)), SIZE)
    options = SamplingOptions(steps=steps, clip_x0=None)
    return Validator(model, process, pictures, batch_size=batch_size, options=options, seed=seed)


@pytest.mark.parametrize("batch_size", [2, 5, 20])
@pytest.mark.parametrize("gain", [1.0, -0.3])
def test_loss_and_dice_against_numpy(batch_size, gain):
    source = Pictures()
    result = validator(ReadsRed(), source, batch_size=batch_size)({"gain": jnp.float32(gain)})
    losses, scores = [], []
    for row in ROWS:
        red, truth = source.images[row][..., 0] / 127.5 - 1.0, source.masks[row]
        losses.append(np.mean((gain * red - (2.0 * truth - 1.0)) ** 2))
        found = gain * red > 0
        scores.append(2 * np.sum(found & (truth == 1)) / (np.sum(found) + np.sum(truth)))
    assert result.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert result.dice == pytest.approx(np.mean(scores), rel=1e-6)
    np.testing.assert_array_equal(result.images, source.images[ROWS[:4]])
    np.testing.assert_array_equal(result.truths, source.masks[ROWS[:4]])
    reds = source.images[ROWS[:4]][..., 0] / 127.5 - 1.0
    np.testing.assert_allclose(result.probabilities, (gain * reds + 1) / 2, atol=1e-6)


class LogitsOfRed(nn.Module):
    def __call__(self, image):
        return 4.0 * image[..., :1]


def test_a_network_of_one_pass_against_numpy():
    source = Pictures()
    result = validator(LogitsOfRed(), source, process=DirectProcess())({})
    losses, scores = [], []
    for row in ROWS:
        logits, truth = 4.0 * (source.images[row][..., 0] / 127.5 - 1.0), source.masks[row]
        p, found = 1 / (1 + np.exp(-logits)), logits > 0
        entropy = -np.mean(np.where(truth, np.log(p), np.log(1 - p)))
        losses.append(entropy + 1 - (2 * np.sum(p * truth) + 1) / (np.sum(p) + np.sum(truth) + 1))
        scores.append(2 * np.sum(found & (truth == 1)) / (np.sum(found) + np.sum(truth)))
    assert result.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert result.dice == pytest.approx(np.mean(scores), rel=1e-6)


@pytest.mark.parametrize(("batches", "whole"), [(0, False), (2, False), (3, True)])
def test_what_is_given_up_ends_before_the_next_batch(batches, whole):
    """Five images, two at a time: asked before each of three batches."""
    answers = iter([False] * batches + [True])
    result = validator(ReadsRed(), batch_size=2)({"gain": jnp.float32(1.0)}, given_up=lambda: next(answers))
    assert (result is not None) is whole
    assert next(answers, "asked") is (True if whole else "asked")


def test_more_than_there_are_is_all_of_them():
    source = Pictures()
    result = validator(ReadsRed(), source, count=64, batch_size=4)({"gain": jnp.float32(1.0)})
    reds = source.images[..., 0] / 127.5 - 1.0
    assert result.loss == pytest.approx(np.mean((reds - (2.0 * source.masks - 1.0)) ** 2), rel=1e-5)


def test_the_noise_and_the_timesteps_are_the_same_every_time():
    first = validator(ShowsNoise())
    once, twice, again = first({}), first({}), validator(ShowsNoise())({})
    other_batches, other_seed = validator(ShowsNoise(), batch_size=3)({}), validator(ShowsNoise(), seed=1)({})
    for result in (twice, again):
        assert (result.loss, result.dice) == (once.loss, once.dice)
        np.testing.assert_array_equal(result.probabilities, once.probabilities)
    assert other_batches.loss == pytest.approx(once.loss, rel=1e-6)
    np.testing.assert_allclose(other_batches.probabilities, once.probabilities, atol=1e-6)
    assert other_seed.loss != once.loss
    assert len(np.unique(once.probabilities[:, 0, 0])) == 4  # noise of its own for each image


class TellsTime(nn.Module):
    """x_0 = t everywhere."""

    def __call__(self, noisy_mask, image, t):
        return jnp.broadcast_to(t[:, None, None, None].astype(jnp.float32), noisy_mask.shape)


@pytest.mark.parametrize(("power", "timesteps"), [(1.0, [1, 3, 5, 7, 9]), (8.0, [7, 8, 9, 9, 9])])
def test_the_timesteps_are_spread_as_training_draws_them(power, timesteps):
    """By hand: floor(10 u^(1/p)) at u = .1, .3, .5, .7, .9; the mask is -1, so the loss is the mean (t+1)^2."""
    source = Pictures()
    source.masks[:] = 0
    process = DiffusionProcess.create(prediction="x0", loss="mse", num_train_timesteps=10, timestep_power=power)
    result = validator(TellsTime(), source, process=process)({})
    assert result.loss == pytest.approx(np.mean((np.array(timesteps) + 1.0) ** 2), rel=1e-6)


def test_weights_gone_wrong_score_nothing():
    result = validator(ReadsRed())({"gain": jnp.float32("nan")})
    assert np.isnan(result.loss) and result.dice == 0.0


def test_masks_are_sampled_with_the_steps_and_the_bound_of_the_config_alone():
    config = {"train": {"validation_steps": 7}, "sample": {"clip_x0": 0.5, "sampler": "ddpm", "eta": 1.0, "steps": 9}}
    assert validation_options(config) == SamplingOptions(steps=7, clip_x0=0.5)

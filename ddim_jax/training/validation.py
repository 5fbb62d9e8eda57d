"""Validation during training: a fixed subset, fixed noise, the loss and the Dice of a few sampling steps."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ddim_jax.aggregation import PROTOCOLS, ensemble_probability, ensemble_threshold, threshold_mask
from ddim_jax.data import Arrays
from ddim_jax.diffusion import DiffusionProcess, DirectProcess
from ddim_jax.labels import Labels
from ddim_jax.metrics import class_counts, dice
from ddim_jax.models import Network
from ddim_jax.preprocessing import class_estimates, normalise, normalise_mask
from ddim_jax.runtime.pinned import key as key_of
from ddim_jax.sampling_options import SamplingOptions


class Validation(NamedTuple):
    """One validation.

    Attributes:
      loss: mean training loss over the subset.
      dice: mean over the images (and the classes) of the Dice of one sample each, protocol "mean", at the training
        size.
      images: uint8 [n, S, S, 3], the first few images.
      truths: uint8 [n, S, S], decoded masks.
      probabilities: float32 [n, S, S], of several classes [n, S, S, K].
      labels: the classes.
    """

    loss: float
    dice: float
    images: np.ndarray
    truths: np.ndarray
    probabilities: np.ndarray
    labels: Labels = Labels()


def validation_rows(examples: int, most: int) -> list[int]:
    """At most `most` rows of a split of `examples`, spread evenly over it."""
    return np.unique(np.linspace(0, examples - 1, min(most, examples)).round().astype(int)).tolist()


def validation_options(config: Mapping[str, Any]) -> SamplingOptions:
    """Returns the options of sampling during a training: DDIM without further noise, whatever the config's sampler."""
    return SamplingOptions(steps=config["train"]["validation_steps"], clip_x0=config["sample"]["clip_x0"])


class Validator:
    """Scores weights on the images of `validation_rows`.

    The noise and the timesteps are drawn once from `seed`, so that two validations differ by the weights alone. One
    mask of each image is sampled with `options` (`validation_options`). It runs on the default device of each
    process; with several processes, all of them compute the same numbers.
    """

    def __init__(
        self,
        model: nn.Module,
        process: DiffusionProcess | DirectProcess,
        pictures: Arrays,
        *,
        batch_size: int,
        options: SamplingOptions,
        seed: int,
    ):
        self._images, self._masks = pictures.images, pictures.masks
        count = len(self._images)
        self._batch_size = min(batch_size, count)
        # One timestep for each image, evenly over what training draws from, in an order that has nothing to do with the
        # images': the loss is then the training's, and not that of timesteps which the network has hardly seen.
        spread = process.timesteps_at((np.arange(count, dtype=np.float32) + 0.5) / count)
        self._t = np.random.default_rng(seed).permutation(np.asarray(spread))
        self._key = key_of(seed)

        self._labels = process.labels
        self._threshold = ensemble_threshold(PROTOCOLS["mean"], labels=process.labels)

        network = Network(model)

        def score(params, image, mask, t, rows):
            image, x0 = normalise(image), normalise_mask(mask, process.labels)
            keys = jax.vmap(jax.random.fold_in, (None, 0))(self._key, rows)
            noise = jax.vmap(lambda key: jax.random.normal(key, x0.shape[1:]))(keys)
            losses = process.losses(network, params, x0, image, noise, t)
            samples = process.sample(network, params, image, noise, options)
            return losses, class_estimates(samples, process.labels)

        self._score = jax.jit(score)

    def __call__(
        self, params: Any, pictures: int = 4, *, given_up: Callable[[], bool] = lambda: False
    ) -> Validation | None:
        """Scores `params`; the first `pictures` images come back with their probabilities.

        The last batch is filled up with images that are counted once, so one shape is compiled. Before each batch
        `given_up` is asked; where it says so, the rest is left out and the result is None.
        """
        count = len(self._images)
        losses, scores, probabilities = np.zeros(count), np.zeros(count), []
        for start in range(0, count, self._batch_size):
            if given_up():
                return None
            rows = np.minimum(np.arange(start, start + self._batch_size), count - 1)
            batch = (self._images[rows], self._masks[rows], self._t[rows], jnp.asarray(rows, jnp.uint32))
            batch_losses, samples = jax.device_get(self._score(params, *batch))
            for row, loss, sample in zip(rows, batch_losses, samples, strict=True):
                losses[row] = loss
                if not np.isfinite(sample).all():
                    # Weights gone wrong: a score of nothing; the loop stops at the loss.
                    scores[row] = 0.0
                    continue
                probability = ensemble_probability(sample[None], PROTOCOLS["mean"])
                mask = threshold_mask(probability, self._threshold, self._labels)
                scores[row] = np.mean([dice(counts) for counts in class_counts(mask, self._masks[row], self._labels)])
                if row == len(probabilities) and row < pictures:
                    probabilities.append(probability)
        shown = len(probabilities)
        return Validation(
            loss=float(losses.mean()),
            dice=float(scores.mean()),
            images=self._images[:shown],
            truths=self._masks[:shown],
            probabilities=np.array(probabilities, np.float32),
            labels=self._labels,
        )

"""The loss of a batch and its gradients: examples drawn by their place, the losses of the process, their mean."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ddim_jax.data import augment
from ddim_jax.diffusion import DiffusionProcess, DirectProcess
from ddim_jax.labels import IGNORED
from ddim_jax.models import Network
from ddim_jax.ops.random_keys import compiled_draws
from ddim_jax.preprocessing import normalise, normalise_mask
from ddim_jax.runtime.pinned import key as key_of
from ddim_jax.training.mean_teacher import pseudo_labels, weights
from ddim_jax.training.step_options import StepOptions

Batch = dict[str, jax.Array]
_UNLABELLED = 2**21
"""Added to the place in the batch of an unlabelled image for its random numbers; no batch is so large."""


@dataclasses.dataclass(frozen=True)
class BatchGradients:
    """Computes the loss of a batch and its gradients.

    Attributes:
      model, process, options: as `ddim_jax.training.step.make_train_step` is given them.
      platform: of the devices, as JAX names it.
      outside: the value of a labelled mask beyond the edge of its image.
    """

    model: nn.Module
    process: DiffusionProcess | DirectProcess
    options: StepOptions
    platform: str
    outside: int

    def mean(
        self, params: Any, teacher_params: Any, step: jax.Array, positions: jax.Array, batch: Batch
    ) -> tuple[jax.Array, Any]:
        """Loss and gradients, the mean over the examples of `batch`, which have these positions in the whole batch."""
        key = jax.random.fold_in(key_of(self.options.seed), step)
        images, masks = _pictures(batch)
        with jax.named_scope("draw_examples"):
            draws = compiled_draws(key, self.platform)
            # On a CPU in two halves: what leaves a loop lies in memory. Else XLA draws and fetches each number where
            # the network reads it, more than once, in the order of that.
            together = -(-len(positions) // 2) if self.platform == "cpu" else len(positions)
            one = lambda example: self._drawn(draws, *example, outside=self.outside)  # noqa: E731
            examples = jax.lax.map(one, (positions, normalise(images), masks), batch_size=together)
            if self.options.teacher is not None:
                examples = self._with_pseudo_labels(examples, draws, teacher_params, step, positions, batch)
        dropout_key = jax.random.fold_in(key, len(positions))
        of_all = self._loss_and_gradients if self.options.accumulate == 1 else self._accumulated
        return of_all(params, dropout_key, *examples)

    def _drawn(
        self, key: jax.Array, position: jax.Array, image: jax.Array, mask: jax.Array, *, outside: int
    ) -> tuple[jax.Array, ...]:
        """One example as the losses take it: x_0 [S,S,C] and image [S,S,3], augmented, noise [S,S,C], timestep [].

        Beyond the edge of the image the mask has the value `outside`. After them, with an adversary, what that draws:
        where its step begins [S,S,3], and if it attacks [].
        """
        own = jax.random.fold_in(key, position)
        augment_key, time_key, noise_key = jax.random.split(own, 3)
        image, mask = augment(augment_key, image, mask[..., None], self.options.augmentation, outside=outside)
        x0 = normalise_mask(mask[..., 0], self.process.labels)
        example = x0, image, jax.random.normal(noise_key, x0.shape), self.process.draw_timesteps(time_key, ())
        if self.options.adversary is None:
            return example
        return (*example, *self.options.adversary.draw(jax.random.fold_in(own, 3), image))

    def _with_pseudo_labels(
        self,
        labelled: tuple[jax.Array, ...],
        key: jax.Array,
        teacher_params: Any,
        step: jax.Array,
        positions: jax.Array,
        batch: Batch,
    ) -> tuple[jax.Array, ...]:
        """The examples with their weights, labelled and unlabelled ones: the mean of both is the sum of two means."""
        images, positions = batch["unlabelled"][batch["unlabelled_row"]], positions + _UNLABELLED
        shape = (*images.shape[1:3], self.process.labels.channels)
        noise = jax.vmap(lambda place: jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, place), 4), shape))
        teacher, network = self.options.teacher, Network(self.model)
        masks = pseudo_labels(teacher, self.process, network, teacher_params, images, noise(positions))
        taught = functools.partial(self._drawn, key, outside=IGNORED)
        examples = jax.vmap(taught)(positions, normalise(images), masks)
        weight = jnp.concatenate([jnp.ones(len(positions)), weights(teacher, step, masks)])
        return 2.0 * weight, *map(lambda *both: jnp.concatenate(both), labelled, examples)

    def _loss_and_gradients(self, params: Any, dropout_key: jax.Array, *examples: jax.Array) -> tuple[jax.Array, Any]:
        apply = Network(self.model, train=True, rngs={"dropout": dropout_key})
        weight = None
        if self.options.teacher is not None:
            weight, *examples = examples
        if self.options.adversary is not None:
            x0, image, *drawn, start, attacked = examples
            # The sum: the gradient of an example does not depend on the batch, and its size does not matter.
            of_image = lambda image: jnp.sum(self.process.losses(apply, params, x0, image, *drawn))  # noqa: E731
            examples = x0, self.options.adversary.attack(of_image, image, start, attacked), *drawn

        def loss(params: Any) -> jax.Array:
            losses = self.process.losses(apply, params, *examples)
            return jnp.mean(losses if weight is None else weight * losses)

        return jax.value_and_grad(loss)(params)

    def _accumulated(self, params: Any, dropout_key: jax.Array, *examples: jax.Array) -> tuple[jax.Array, Any]:
        def split(array: jax.Array) -> jax.Array:
            # Every accumulate-th example makes a part: each device has a share of every part, as it has of the batch.
            return array.reshape(-1, self.options.accumulate, *array.shape[1:]).swapaxes(0, 1)

        def add(total, part):
            number, *examples = part
            one = self._loss_and_gradients(params, jax.random.fold_in(dropout_key, number), *examples)
            return jax.tree.map(jnp.add, total, one), None

        nothing = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
        total, _ = jax.lax.scan(add, nothing, (jnp.arange(self.options.accumulate), *map(split, examples)))
        return jax.tree.map(lambda sum_: sum_ / self.options.accumulate, total)


def _pictures(batch: Batch) -> tuple[jax.Array, jax.Array]:
    if "row" in batch:
        rows = batch["row"]
        masks = batch["masks"][rows, batch["annotator"]] if "annotator" in batch else batch["masks"][rows]
        return batch["images"][rows], masks
    return batch["image"], batch["mask"]

"""One training step: a pure function, compiled once, its state donated."""

import functools
from collections.abc import Callable
from typing import Any

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, PartitionSpec

from ddim_jax.data import Augmentation, augment
from ddim_jax.diffusion import DiffusionProcess, DirectProcess
from ddim_jax.models import Network, example_inputs
from ddim_jax.ops.random_keys import compiled_draws
from ddim_jax.preprocessing import normalise, normalise_mask
from ddim_jax.runtime.pinned import key as key_of
from ddim_jax.training.adversarial import Adversary
from ddim_jax.training.mean_teacher import MeanTeacher, taught_masks, weights, with_ignored_pixels
from ddim_jax.training.optimiser import updated
from ddim_jax.training.sharding import replicated
from ddim_jax.training.state import TrainState

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
STOP = "stop"
"""In a batch, int32 [devices]: 1 where the process was asked to stop; in the metrics, int32: whether any was."""
_WHOLE = ("images", "masks", "unlabelled")
"""Parts of a batch that hold the whole data set, of which the batch has the rows."""
_UNLABELLED = 2**21
"""Added to the place in the batch of an unlabelled picture for its random numbers; no batch is so large."""


def make_train_step(
    model: nn.Module,
    process: DiffusionProcess | DirectProcess,
    optimiser: optax.GradientTransformation,
    mesh: Mesh,
    *,
    seed: int,
    ema_decay: float,
    augmentation: Augmentation,
    accumulate: int = 1,
    adversary: Adversary | None = None,
    teacher: MeanTeacher | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Builds the compiled step (state, batch) -> (state, metrics).

    The batch holds uint8 "image" [B,S,S,3] and "mask" [B,S,S]; or, for data that lies on the device, "row" int32 [B]
    besides the whole "images" and "masks", from which the rows are taken there; of several annotators also "annotator"
    int32 [B], whose mask is taken of "masks" [N,A,S,S].

    Randomness (augmentation, timesteps, noise, dropout) comes from fold_in(fold_in(key(seed), step), position in the
    batch): a run is the same on any number of devices and after any number of restarts.

    With `accumulate` above 1 the network sees the batch in that many equal parts, one after the other, and the mean of
    their gradients makes one update: what the whole batch would have given, but for rounding and for what dropout
    drops, with the activations of one part in memory at a time.

    With an `adversary` the network is trained on what that makes of each picture it attacks, with the same noise,
    timestep and dropout; a step takes half as long again, or more.

    With a `teacher` the batch also has "unlabelled" [M,S,S,3], whole, and "unlabelled_row" int32 [B]: as many pictures
    without masks, which get those of `ddim_jax.training.mean_teacher`. The loss is then the mean of the labelled ones
    plus the weighted mean of the others; a step takes more than twice the time.

    The metrics are float32 scalars on the device: "loss" and "gradient_norm" (before clipping).
    """

    platform = mesh.devices.flat[0].platform
    if teacher is not None:
        process = with_ignored_pixels(process)

    def drawn(key: jax.Array, position: jax.Array, image: jax.Array, mask: jax.Array) -> tuple[jax.Array, ...]:
        """One example as the losses take it: x_0 [S,S,C] and image [S,S,3], augmented, noise [S,S,C], timestep [].

        After them, with an `adversary`, what that draws: where its step begins [S,S,3], and if it attacks [].
        """
        own = jax.random.fold_in(key, position)
        augment_key, time_key, noise_key = jax.random.split(own, 3)
        image, mask = augment(augment_key, image, mask[..., None], augmentation, outside=0)
        x0 = normalise_mask(mask[..., 0], process.labels)
        example = x0, image, jax.random.normal(noise_key, x0.shape), process.draw_timesteps(time_key, ())
        return example if adversary is None else (*example, *adversary.draw(jax.random.fold_in(own, 3), image))

    def loss_and_gradients(params: Any, dropout_key: jax.Array, *examples: jax.Array) -> tuple[jax.Array, Any]:
        apply = Network(model, train=True, rngs={"dropout": dropout_key})
        weight = None
        if teacher is not None:
            weight, *examples = examples
        if adversary is not None:
            x0, image, *drawn_, start, attacked = examples
            # The sum: the gradient of an example does not depend on the batch, and its size does not matter.
            of_image = lambda image: jnp.sum(process.losses(apply, params, x0, image, *drawn_))  # noqa: E731
            examples = x0, adversary.attack(of_image, image, start, attacked), *drawn_

        def loss(params: Any) -> jax.Array:
            losses = process.losses(apply, params, *examples)
            return jnp.mean(losses if weight is None else weight * losses)

        return jax.value_and_grad(loss)(params)

    def accumulated(params: Any, dropout_key: jax.Array, *examples: jax.Array) -> tuple[jax.Array, Any]:
        def split(array: jax.Array) -> jax.Array:
            # Every accumulate-th example makes a part: each device has a share of every part, as it has of the batch.
            return array.reshape(-1, accumulate, *array.shape[1:]).swapaxes(0, 1)

        def add(total, part):
            number, *examples = part
            one = loss_and_gradients(params, jax.random.fold_in(dropout_key, number), *examples)
            return jax.tree.map(jnp.add, total, one), None

        nothing = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
        total, _ = jax.lax.scan(add, nothing, (jnp.arange(accumulate), *map(split, examples)))
        return jax.tree.map(lambda sum_: sum_ / accumulate, total)

    def with_taught(
        labelled: tuple[jax.Array, ...],
        key: jax.Array,
        of_teacher: Any,
        step: jax.Array,
        positions: jax.Array,
        batch: Batch,
    ) -> tuple[jax.Array, ...]:
        """The examples with their weights, labelled and unlabelled ones: the mean of both is the sum of two means."""
        images, positions = batch["unlabelled"][batch["unlabelled_row"]], positions + _UNLABELLED
        shape = (*images.shape[1:3], process.labels.channels)
        noise = jax.vmap(lambda place: jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, place), 4), shape))
        masks = taught_masks(teacher, process, Network(model), of_teacher, images, noise(positions))
        examples = jax.vmap(functools.partial(drawn, key))(positions, normalise(images), masks)
        weight = jnp.concatenate([jnp.ones(len(positions)), weights(teacher, step, masks)])
        return 2.0 * weight, *map(lambda *both: jnp.concatenate(both), labelled, examples)

    def mean(
        params: Any, of_teacher: Any, step: jax.Array, positions: jax.Array, batch: Batch
    ) -> tuple[jax.Array, Any]:
        """Loss and gradients, the mean over the examples, which have these positions in the whole batch."""
        key = jax.random.fold_in(key_of(seed), step)
        images, masks = _pictures(batch)
        with jax.named_scope("draw_examples"):
            draws = compiled_draws(key, platform)
            # On a CPU in two halves: what leaves a loop lies in memory. Else XLA draws and fetches each number where
            # the network reads it, more than once, in the order of that.
            together = -(-len(positions) // 2) if platform == "cpu" else len(positions)
            one = lambda example: drawn(draws, *example)  # noqa: E731
            examples = jax.lax.map(one, (positions, normalise(images), masks), batch_size=together)
            if teacher is not None:
                examples = with_taught(examples, draws, of_teacher, step, positions, batch)
        dropout_key = jax.random.fold_in(key, len(positions))
        of_all = loss_and_gradients if accumulate == 1 else accumulated
        return of_all(params, dropout_key, *examples)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        stop = {name: jnp.max(flags) for name, flags in batch.items() if name == STOP}
        batch = {name: array for name, array in batch.items() if name != STOP}
        positions = jnp.arange(len(batch["row" if "row" in batch else "mask"]))
        of_teacher = None if teacher is None else state.ema_params
        image_size = batch["images" if "row" in batch else "image"].shape[1]
        # Dropout draws for the whole batch, or it would depend on the number of devices: the compiler has to divide it.
        shared = mesh.size > 1 and not draws_in_training(model, state.params, image_size)
        loss, gradients = (_on_shares(mean, mesh) if shared else mean)(
            state.params, of_teacher, state.step, positions, batch
        )
        with jax.named_scope("update"):
            # The average follows quickly at first: the initial weights are not worth remembering.
            decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
            new = updated(
                optimiser,
                gradients,
                state.opt_state,
                state.params,
                state.ema_params,
                decay,
                platform,
            )
        new_state = TrainState(step=state.step + 1, params=new.params, ema_params=new.average, opt_state=new.opt_state)
        return new_state, {"loss": loss, "gradient_norm": new.norm, **stop}

    everywhere = replicated(mesh)
    return jax.jit(step, donate_argnums=0, out_shardings=(everywhere, everywhere))


def draws_in_training(model: nn.Module, params: Any, image_size: int) -> bool:
    """True if the network draws random numbers of its own when it is trained, as dropout does; it is traced to see."""
    try:
        jax.eval_shape(Network(model, train=True), params, *example_inputs(model, image_size))
    except flax.errors.InvalidRngError:
        return True
    return False


def _on_shares(mean: Callable, mesh: Mesh) -> Callable:
    """`mean` of the whole batch, of which each device computes its own share, to be added up once, at the end.

    Left to itself, the compiler cannot divide the calls of our CPU kernels: every device would compute the whole batch.
    """

    def of_shares(
        params: Any, of_teacher: Any, step: jax.Array, positions: jax.Array, batch: Batch
    ) -> tuple[jax.Array, Any]:
        def one(*share):
            # As one array: between processes, each sum of several waits for the network once.
            flat, restore = ravel_pytree(mean(*share))
            return restore(jax.lax.pmean(flat, "data"))

        everywhere, divided = PartitionSpec(), PartitionSpec("data")
        by_name = {name: everywhere if name in _WHOLE else divided for name in batch}
        specs = (everywhere, everywhere, everywhere, divided, by_name)
        # The kernels do not say on which axes their results vary, so this cannot be checked.
        return jax.shard_map(one, mesh=mesh, in_specs=specs, out_specs=everywhere, check_vma=False)(
            params, of_teacher, step, positions, batch
        )

    return of_shares


def _pictures(batch: Batch) -> tuple[jax.Array, jax.Array]:
    if "row" in batch:
        rows = batch["row"]
        masks = batch["masks"][rows, batch["annotator"]] if "annotator" in batch else batch["masks"][rows]
        return batch["images"][rows], masks
    return batch["image"], batch["mask"]

"""One training step: a pure function, compiled once, its state donated."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ddim_jax.data import augment
from ddim_jax.diffusion import DiffusionProcess, DirectProcess
from ddim_jax.training.sharding import replicated
from ddim_jax.training.state import TrainState

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


def normalise(image: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """uint8 [B,H,W,3] and uint8 {0, 1} [B,H,W] -> float32 [B,H,W,3] in [-1, 1] and float32 {-1, +1} [B,H,W,1]."""
    return image.astype(jnp.float32) / 127.5 - 1.0, 2.0 * mask.astype(jnp.float32)[..., None] - 1.0


def make_train_step(
    model: nn.Module,
    process: DiffusionProcess | DirectProcess,
    optimiser: optax.GradientTransformation,
    mesh: Mesh,
    *,
    seed: int,
    ema_decay: float,
    rotation_degrees: float,
    flips: bool,
    accumulate: int = 1,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Builds the compiled step (state, batch) -> (state, metrics).

    The batch holds uint8 "image" [B,S,S,3] and "mask" [B,S,S]; or, for data that lies on the device, "row" int32 [B]
    besides the whole "images" and "masks", from which the rows are taken there.

    Randomness (augmentation, timesteps, noise, dropout) comes from fold_in(fold_in(key(seed), step), position in the
    batch): a run is the same on any number of devices and after any number of restarts.

    With `accumulate` above 1 the network sees the batch in that many equal parts, one after the other, and the mean of
    their gradients makes one update: what the whole batch would have given, but for rounding and for what dropout
    drops, with the activations of one part in memory at a time.

    The metrics are float32 scalars on the device: "loss" and "gradient_norm" (before clipping).
    """

    def example_randoms(step: jax.Array, image: jax.Array, mask: jax.Array):
        key = jax.random.fold_in(jax.random.key(seed), step)

        def one(position, image, mask):
            own = jax.random.fold_in(key, position)
            augment_key, time_key, noise_key = jax.random.split(own, 3)
            image, mask = augment(augment_key, image, mask, rotation_degrees=rotation_degrees, flips=flips)
            return image, mask, process.draw_timesteps(time_key, ()), jax.random.normal(noise_key, mask.shape)

        dropout_key = jax.random.fold_in(key, mask.shape[0])
        return *jax.vmap(one)(jnp.arange(mask.shape[0]), image, mask), dropout_key

    def loss_and_gradients(params: Any, dropout_key: jax.Array, *examples: jax.Array) -> tuple[jax.Array, Any]:
        def apply(params, *inputs):
            return model.apply({"params": params}, *inputs, train=True, rngs={"dropout": dropout_key})

        return jax.value_and_grad(lambda params: jnp.mean(process.losses(apply, params, *examples)))(params)

    # Each device computes its own share of the examples, and the means are taken once, at the end. Left to itself, the
    # compiler cannot divide the calls of our CPU kernels: every device would compute the whole batch. Dropout draws for
    # the whole batch, or it would depend on the number of devices, and stays with the compiler.
    if mesh.size > 1 and not getattr(model, "dropout", 0.0):
        loss_and_gradients = _on_shares(loss_and_gradients, mesh)

    def accumulated(params: Any, dropout_key: jax.Array, examples: tuple[jax.Array, ...]) -> tuple[jax.Array, Any]:
        def split(array: jax.Array) -> jax.Array:
            # Every accumulate-th example makes a part: each device splits its own share, and nothing is sent.
            parts = array.reshape(-1, accumulate, *array.shape[1:]).swapaxes(0, 1)
            return jax.lax.with_sharding_constraint(parts, NamedSharding(mesh, PartitionSpec(None, "data")))

        def add(total, part):
            number, *examples = part
            one = loss_and_gradients(params, jax.random.fold_in(dropout_key, number), *examples)
            return jax.tree.map(jnp.add, total, one), None

        nothing = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
        total, _ = jax.lax.scan(add, nothing, (jnp.arange(accumulate), *map(split, examples)))
        return jax.tree.map(lambda sum_: sum_ / accumulate, total)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        image, mask = normalise(*_pictures(batch))
        image, mask, t, noise, dropout_key = example_randoms(state.step, image, mask)

        examples = (mask, image, noise, t)
        if accumulate == 1:
            loss, gradients = loss_and_gradients(state.params, dropout_key, *examples)
        else:
            loss, gradients = accumulated(state.params, dropout_key, examples)
        updates, opt_state = optimiser.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        # The average follows quickly at first: the initial weights are not worth remembering.
        decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
        ema_params = jax.tree.map(lambda old, new: decay * old + (1.0 - decay) * new, state.ema_params, params)
        new_state = TrainState(step=state.step + 1, params=params, ema_params=ema_params, opt_state=opt_state)
        return new_state, {"loss": loss, "gradient_norm": optax.tree.norm(gradients)}

    everywhere = replicated(mesh)
    return jax.jit(step, donate_argnums=0, out_shardings=(everywhere, everywhere))


def _on_shares(loss_and_gradients: Callable, mesh: Mesh) -> Callable:
    """(params, dropout key, *examples) -> the mean over the devices, each with its own share of the examples."""

    def mean(params: Any, dropout_key: jax.Array, *examples: jax.Array) -> tuple[jax.Array, Any]:
        def one(params, dropout_key, *share):
            # As one array: between processes, each sum of several waits for the network once.
            flat, restore = ravel_pytree(loss_and_gradients(params, dropout_key, *share))
            return restore(jax.lax.pmean(flat, "data"))

        specs = (PartitionSpec(), PartitionSpec(), *[PartitionSpec("data")] * len(examples))
        # The kernels do not say on which axes their results vary, so this cannot be checked.
        return jax.shard_map(one, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False)(
            params, dropout_key, *examples
        )

    return mean


def _pictures(batch: Batch) -> tuple[jax.Array, jax.Array]:
    if "row" in batch:
        return batch["images"][batch["row"]], batch["masks"][batch["row"]]
    return batch["image"], batch["mask"]

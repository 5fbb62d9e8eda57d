"""One training step: a pure function, compiled once, its state donated."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

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
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Builds the compiled step (state, batch) -> (state, metrics).

    The batch holds uint8 "image" [B,S,S,3] and "mask" [B,S,S]; or, for data that lies on the device, "row" int32 [B]
    besides the whole "images" and "masks", from which the rows are taken there.

    Randomness (augmentation, timesteps, noise, dropout) comes from fold_in(fold_in(key(seed), step), position in the
    batch): a run is the same on any number of devices and after any number of restarts.

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

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        image, mask = normalise(*_pictures(batch))
        image, mask, t, noise, dropout_key = example_randoms(state.step, image, mask)

        def apply(params, *inputs):
            return model.apply({"params": params}, *inputs, train=True, rngs={"dropout": dropout_key})

        def loss_of(params):
            return jnp.mean(process.losses(apply, params, mask, image, noise, t))

        loss, gradients = jax.value_and_grad(loss_of)(state.params)
        updates, opt_state = optimiser.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        # The average follows quickly at first: the initial weights are not worth remembering.
        decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
        ema_params = jax.tree.map(lambda old, new: decay * old + (1.0 - decay) * new, state.ema_params, params)
        new_state = TrainState(step=state.step + 1, params=params, ema_params=ema_params, opt_state=opt_state)
        return new_state, {"loss": loss, "gradient_norm": optax.tree.norm(gradients)}

    everywhere = replicated(mesh)
    return jax.jit(step, donate_argnums=0, out_shardings=(everywhere, everywhere))


def _pictures(batch: Batch) -> tuple[jax.Array, jax.Array]:
    if "row" in batch:
        return batch["images"][batch["row"]], batch["masks"][batch["row"]]
    return batch["image"], batch["mask"]

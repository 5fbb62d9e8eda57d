"""One training step: a pure function, compiled once, its state donated."""

from collections.abc import Callable
from typing import Any

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, PartitionSpec

from ddim_jax.diffusion import DiffusionProcess, DirectProcess
from ddim_jax.labels import IGNORED
from ddim_jax.models import Network, example_inputs
from ddim_jax.training.gradients import Batch, BatchGradients
from ddim_jax.training.mean_teacher import with_ignored_pixels
from ddim_jax.training.optimiser import updated
from ddim_jax.training.sharding import replicated
from ddim_jax.training.state import TrainState
from ddim_jax.training.step_options import StepOptions

Metrics = dict[str, jax.Array]
STOP = "stop"
"""In a batch, int32 [devices]: 1 where the process was asked to stop; in the metrics, int32: whether any was."""
_WHOLE = ("images", "masks", "unlabelled")
"""Parts of a batch that hold the whole data set, of which the batch has the rows."""


def make_train_step(
    model: nn.Module,
    process: DiffusionProcess | DirectProcess,
    optimiser: optax.GradientTransformation,
    mesh: Mesh,
    options: StepOptions,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Builds the compiled step (state, batch) -> (state, metrics).

    The batch holds uint8 "image" [B,S,S,3] and "mask" [B,S,S]; or, for data that lies on the device, "row" int32 [B]
    besides the whole "images" and "masks", from which the rows are taken there; of several annotators also "annotator"
    int32 [B], whose mask is taken of "masks" [N,A,S,S].

    Randomness (augmentation, timesteps, noise) comes from fold_in(fold_in(key(seed), step), position in the batch),
    that of dropout from the step for the batch as a whole: a run is the same after any number of restarts, and up to
    the order of sums on any number of devices.

    With `accumulate` above 1 the network sees the batch in that many equal parts, one after the other, and the mean of
    their gradients makes one update: what the whole batch would have given, but for rounding and for what dropout
    drops, with the activations of one part in memory at a time.

    With an `adversary` the network is trained on what that makes of each image it attacks, with the same noise,
    timestep and dropout; a step takes half as long again, or more.

    With a `teacher` the batch also has "unlabelled" [M,S,S,3], whole, and "unlabelled_row" int32 [B]: as many images
    without masks, which get those of `ddim_jax.training.mean_teacher`. The loss is then the mean of the labelled ones
    plus the weighted mean of the others; a step takes more than twice the time.

    The metrics are float32 scalars on the device: "loss" and "gradient_norm" (before clipping).
    """
    platform = mesh.devices.flat[0].platform
    outside = IGNORED if process.labels.ignore else 0  # where values may be unknown, none is made up
    if options.teacher is not None:
        process = with_ignored_pixels(process)
    mean = BatchGradients(model, process, options, platform=platform, outside=outside).mean

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        stop = {name: jnp.max(flags) for name, flags in batch.items() if name == STOP}
        batch = {name: array for name, array in batch.items() if name != STOP}
        positions = jnp.arange(len(batch["row" if "row" in batch else "mask"]))
        teacher_params = None if options.teacher is None else state.ema_params
        image_size = batch["images" if "row" in batch else "image"].shape[1]
        # Dropout draws for the whole batch, or it would depend on the number of devices: the compiler has to divide it.
        shared = mesh.size > 1 and not draws_in_training(model, state.params, image_size)
        loss, gradients = (_on_shares(mean, mesh) if shared else mean)(
            state.params, teacher_params, state.step, positions, batch
        )
        with jax.named_scope("update"):
            # The average follows quickly at first: the initial weights are not worth remembering.
            decay = jnp.minimum(options.ema_decay, (1.0 + state.step) / (10.0 + state.step))
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
        params: Any, teacher_params: Any, step: jax.Array, positions: jax.Array, batch: Batch
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
            params, teacher_params, step, positions, batch
        )

    return of_shares

"""The state that training carries from step to step."""

import os
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ddim_jax.checkpoints.torch_weights import from_torch, load_state_dict
from ddim_jax.models import example_inputs
from ddim_jax.runtime.pinned import key as key_of


@flax.struct.dataclass
class TrainState:
    """Everything a run needs to go on. Random keys are not part of it: they follow from the seed and the step.

    Attributes:
      step: int32 scalar, optimiser updates done.
      params: float32 weights.
      ema_params: float32 exponential moving average of the weights, used for sampling.
      opt_state: the optimiser's state.
    """

    step: jax.Array
    params: Any
    ema_params: Any
    opt_state: Any


def create_state(model: nn.Module, optimiser: optax.GradientTransformation, image_size: int, seed: int) -> TrainState:
    """A fresh state; the initial weights are a function of the model and the seed."""

    def initial(key):
        return model.init(key, *example_inputs(model, image_size))["params"]

    # Compiled, so that the forward pass, of which only the shapes matter, is dropped instead of run step by step.
    params = jax.jit(initial)(key_of(seed))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        ema_params=jax.tree.map(jnp.copy, params),
        opt_state=optimiser.init(params),
    )


def load_weights(path: str | os.PathLike, model: nn.Module, image_size: int) -> Any:
    """The weights of `model` from a file of PyTorch or safetensors, as NumPy arrays.

    Raises:
      CheckpointError: the file cannot be read, or its weights are another network's: every name and shape that does not
        fit is told.
    """
    fresh = jax.eval_shape(lambda key: model.init(key, *example_inputs(model, image_size)), key_of(0))
    return from_torch(load_state_dict(path), fresh["params"], source=path)


def start_from(state: TrainState, params: Any) -> TrainState:
    """A fresh state with `params` in place of the initial weights, and of their average."""
    return state.replace(params=params, ema_params=jax.tree.map(np.copy, params))


def parameter_count(params: Any) -> int:
    """The number of weights in a pytree of arrays or shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))

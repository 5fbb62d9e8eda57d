"""The state that training carries from step to step."""

import os
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from ddim_jax.checkpoints.items import check_tree
from ddim_jax.checkpoints.packed import PRETRAINING
from ddim_jax.checkpoints.torch_weights import from_torch, load_state_dict
from ddim_jax.checkpoints.weights import is_weights, open_weights
from ddim_jax.config import saved_config
from ddim_jax.labels import Labels
from ddim_jax.models import PlainUNet, example_inputs, param_shapes
from ddim_jax.models.plain_unet import Levels
from ddim_jax.ops.random_keys import compiled_draws
from ddim_jax.pretrained import SHA256
from ddim_jax.runtime.errors import CheckpointError
from ddim_jax.runtime.pinned import key as key_of
from ddim_jax.runtime.remote import local_path

TRUNK = "trunk."
"""Begins the names of the weights of a network's U-Net, where that is a part of it."""


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
        draws = compiled_draws(key, jax.default_backend())
        params = model.init(draws, *example_inputs(model, image_size))["params"]
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            ema_params=jax.tree.map(jnp.copy, params),
            opt_state=optimiser.init(params),
        )

    # Compiled, so that the forward pass, of which only the shapes matter, is dropped instead of run step by step. As
    # one program, which is kept on disk: each array of zeros by itself would be one that compiles too fast to be kept.
    return jax.jit(initial)(key_of(seed))


class InitialWeights(NamedTuple):
    """Weights that a run starts from.

    Attributes:
      params: nested dict of NumPy arrays; those of layers that are new are not in it.
      description: one line about where they are from and what is new.
    """

    params: Any
    description: str


def load_weights(
    path: str | os.PathLike, model: nn.Module, image_size: int, labels: Labels = Labels()
) -> InitialWeights:
    """The weights of `model`, whose classes are `labels`, from a run, a file of packed weights, or one of PyTorch.

    Of a run, it is the average of its best checkpoint. Where its mask has another number of channels, the layers whose
    shapes depend on it are new; where only the classes are others, the last layer is. Of a pre-training (`pretrain`) it
    is what `pretrainable` names, to the last array; the rest is new.

    Raises:
      CheckpointError: the file or the run cannot be read, or its weights are another network's: every name and shape
        that does not fit is told.
    """
    fresh = param_shapes(model, image_size)
    if not is_weights(path) and not local_path(path, "train.init_from").is_file():
        raise CheckpointError(
            f"train.init_from is {path}: no such file or folder; expected a run, a file of weights "
            f"(.safetensors, .pt, .pth), or a name of: {', '.join(SHA256)}"
        )
    if not is_weights(path):
        return InitialWeights(
            from_torch(load_state_dict(path), fresh, source=path), f"starts from the weights of {path}"
        )
    found = open_weights(path)
    config = saved_config(found.about, found.metadata)
    before = Labels.from_config(config["data"])
    channels = getattr(model, "mask_channels", 1)
    wanted, given = flatten_dict(fresh, sep="."), flatten_dict(found.params, sep=".")
    advice = (
        f" It is of model.name={config['model']['name']}, model.preset={config['model']['preset']}: train.init_from "
        "takes weights of the network that is trained."
    )
    told, new = f"starts from step {found.step} of {path}", []
    if examples := (found.metadata.get("data") or {}).get(PRETRAINING):
        pretrained = pretrainable(model, image_size)
        check_tree(found.place, pretrained, given, advice)
        told += f", pre-trained on {examples} images without masks: {len(given)} of {len(wanted)} arrays"
        return InitialWeights(found.params, f"{told}; these are new: {', '.join(new_parts(wanted, pretrained))}")
    if before.channels != channels:
        new = _of_mask_channels(model, image_size)
        about = f"its mask has {before.channels} channels in the network, this one {channels}"
    elif _meaning(before) != _meaning(labels):
        new = _of_mask_channels(model, image_size, slice(-1, None))  # the last layer
        about = f"its classes are {_meaning(before)}, those of this run {_meaning(labels)}"
        if not new:
            told += f"; {about}, and all layers are kept, since the network has no field mask_channels"
    kept = {name: array for name, array in given.items() if name not in new}
    check_tree(found.place, {name: leaf for name, leaf in wanted.items() if name not in new}, kept, advice)
    if new:
        told += f"; {about}, so these are new: {', '.join(new)}"
    return InitialWeights(unflatten_dict(kept, sep="."), told)


def pretrainable(model: nn.Module, image_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """The weights of a model that images without masks train, by name: those of its U-Net, but for the last layer.

    The U-Net is the model itself or, of another one with its `Levels`, the part `trunk`; empty where there is none.
    """
    if not isinstance(model, Levels):
        return {}
    of_unet = "" if isinstance(model, PlainUNet) else TRUNK
    shapes = flatten_dict(param_shapes(model, image_size), sep=".")
    return {
        name: leaf
        for name, leaf in shapes.items()
        if name.startswith(of_unet) and not name.startswith(f"{of_unet}conv_out.")
    }


def new_parts(names: Iterable[str], kept: Collection[str]) -> list[str]:
    """The parts of a network, as large as can be, that have no array in `kept`; `names` are those of all arrays."""

    def parts(name: str) -> list[str]:
        pieces = name.split(".")
        return [".".join(pieces[:count]) for count in range(1, len(pieces) + 1)]

    held = {part for name in kept for part in parts(name)}
    of_each = (next(part for part in parts(name) if part not in held) for name in names if name not in kept)
    return list(dict.fromkeys(of_each))


def _meaning(labels: Labels) -> str:
    """The channels of the mask in words: classes in their order, and how they exclude each other."""
    return ", ".join(labels.class_names) + (" (which overlap)" if labels.several and labels.multilabel else "")


def _of_mask_channels(model: nn.Module, image_size: int, axes: slice = slice(None)) -> list[str]:
    """Names of the weights of which one of these axes grows with the channels of the mask.

    The last axis grows where each channel has its own part at the end; the weights that take the mask in, and the
    image with it, have another.
    """
    if not hasattr(model, "mask_channels"):
        return []
    own, wider = (
        flatten_dict(param_shapes(one, image_size), sep=".")
        for one in (model, model.clone(mask_channels=model.mask_channels + 1))
    )
    return [name for name, leaf in own.items() if leaf.shape[axes] != wider[name].shape[axes]]


def start_from(state: TrainState, initial: InitialWeights) -> TrainState:
    """A fresh state with the weights that it starts from in place of the initial ones, and of their average."""
    params = unflatten_dict({**flatten_dict(state.params), **flatten_dict(initial.params)})
    return state.replace(params=params, ema_params=jax.tree.map(lambda leaf: np.array(leaf), params))


def parameter_count(params: Any) -> int:
    """The number of weights in a pytree of arrays or shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))

"""The weights and inputs that all sides of a case share, drawn once with NumPy and kept in files."""

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from benchmarks.speed.cases import Case
from benchmarks.speed.roofline import Work, case_work
from configs import folder
from ddim_jax.checkpoints import torch_weights
from ddim_jax.checkpoints.torch_weights import load_state_dict, save_state_dict, to_torch
from ddim_jax.config import resolve_config
from ddim_jax.diffusion import DiffusionProcess
from ddim_jax.inference.segmentation import starting_noise
from ddim_jax.models import create_model, example_inputs

SEED = 0
"""Seed of the weights and images, and of the training step, whose own draws the other sides are given."""
RECOMMENDED = "trunk_ddim"
"""The network that is measured in the setting of configs/folder.py; the others are in the paper's."""
_WATCHED = ("conv_in.weight", "mid.block_1.conv1.weight", "conv_out.weight")
_WATCHED_OF_TRUNK = ("trunk.down_0_conv_0.weight", "trunk.up_0_upsample.weight", "head.block_0_conv.weight")


@dataclasses.dataclass(frozen=True)
class Setting:
    """The values that a case trains and samples with, the paper's by default, and its weights' names in PyTorch.

    Attributes:
      diffusion: fields of `DiffusionProcess.create`.
      learning_rate, gradient_clip, ema_decay: as in a config, the rate without its schedule.
      names: the table of names for `ddim_jax.checkpoints.torch_weights`.
      watched: weights, in PyTorch's names, whose change by the first step is compared.
    """

    diffusion: dict[str, Any] = dataclasses.field(default_factory=dict)
    learning_rate: float = 2e-5
    gradient_clip: float = 0.0
    ema_decay: float = 0.9999
    names: torch_weights.NameTable = torch_weights.DENOISING_UNET
    watched: tuple[str, ...] = _WATCHED

    def ema_decay_at(self, step: int) -> float:
        """The decay of the average at `step`, counted from 0: short at first, as in `ddim_jax.training.step`."""
        return min(self.ema_decay, (1 + step) / (10 + step))


def recommended_config() -> dict[str, Any]:
    """The config of configs/folder.py, resolved, without images."""
    config = folder.get_config()
    config.data.root = "."  # of which nothing is read
    return resolve_config(config)


def setting_of(model: str) -> Setting:
    """The setting that a network is measured in."""
    if model != RECOMMENDED:
        return Setting()
    config = recommended_config()
    own = {name: config["train"][name] for name in ("learning_rate", "gradient_clip", "ema_decay")}
    return Setting(config["diffusion"], **own, names=(), watched=_WATCHED_OF_TRUNK)


@dataclasses.dataclass(frozen=True)
class Files:
    """Paths of the weights (.safetensors, PyTorch's names) and the inputs (.npz, channels last) of a case."""

    weights: str
    inputs: str


class Preparation:
    """Writes the files of the cases below `folder`; lives in a worker that leaves the GPU alone."""

    def __init__(self, folder: str):
        self._folder = Path(folder)

    def prepare(self, case: Case) -> tuple[Files, Work]:
        """The files of a case and what one run of it has to do."""
        model = create_model(case.model, **case.overrides)
        fields = "".join(f"-{name}={value}" for name, value in case.overrides.items())
        weights = self._folder / f"{case.model}{fields}.safetensors"
        if not weights.exists():
            save_state_dict(weights, to_torch(draw_params(model), setting_of(case.model).names))
        inputs = self._folder / ("-".join(map(str, case.key)) + ".npz")
        np.savez(inputs, **draw_inputs(case))
        return Files(str(weights), str(inputs)), case_work(case)

    def networks(self) -> list[dict[str, Any]]:
        """Weights and size of the file of each network of the paper's Table 2, as the package saves it."""
        found = []
        for name in ("lightweight_ddim", "ddim", "unet"):
            model = create_model(name)
            params = draw_params(model)
            path = self._folder / "size.safetensors"
            save_state_dict(path, to_torch(params))
            leaves = jax.tree.leaves(params)
            found.append(
                {"model": name, "parameters": sum(leaf.size for leaf in leaves), "file_bytes": os.path.getsize(path)}
            )
            path.unlink()
        return found


def draw_params(model: nn.Module) -> Any:
    """Weights that keep the signal near unit variance; no bias is 0 and no scale 1, so that every weight counts."""
    rng = np.random.default_rng(SEED)

    def draw(path, leaf):
        kind = path[-1].key
        z = rng.standard_normal(leaf.shape, dtype=np.float32)
        if kind == "kernel":
            return z / np.float32(np.sqrt(np.prod(leaf.shape[:-1])))
        return np.float32(kind == "scale") + np.float32(0.1) * z

    return jax.tree_util.tree_map_with_path(draw, param_shapes(model))


def draw_inputs(case: Case) -> dict[str, np.ndarray]:
    """Inputs of the network, the training step or the sampler of a case; batch first, channels last."""
    rng = np.random.default_rng(SEED)
    shape = (case.batch, case.size, case.size)
    if case.kind == "segment" and case.model == RECOMMENDED:
        images = rng.integers(0, 256, (case.pictures, case.size, case.size, 3), dtype=np.uint8)
        draw = functools.partial(starting_noise, np.uint32(SEED), samples=case.batch // case.pictures)
        noise, _ = jax.vmap(functools.partial(draw, shape=(*shape[1:], 1)))(np.arange(case.pictures, dtype=np.uint32))
        return {"image": images, "noise": np.array(noise).reshape(*shape, 1)}
    if case.kind == "segment":
        image = rng.uniform(-1.0, 1.0, (1, case.size, case.size, 3)).astype(np.float32)
        return {"image": image, "noise": rng.standard_normal((*shape, 1), dtype=np.float32)}
    if case.kind == "forward":
        return {
            "noisy_mask": rng.standard_normal((*shape, 1), dtype=np.float32),
            "image": rng.uniform(-1.0, 1.0, (*shape, 3)).astype(np.float32),
            "t": rng.integers(0, 1000, case.batch, dtype=np.int32),
        }
    t, noise = first_draws(case)
    return {
        "image": rng.integers(0, 256, (*shape, 3), dtype=np.uint8),
        "mask": rng.integers(0, 2, shape, dtype=np.uint8),
        "t": t,
        "noise": noise,
    }


def first_draws(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Timesteps and noise of step 0 of `ddim_jax.training.step.make_train_step` with `SEED`, drawn as it does.

    Were they drawn otherwise, the losses of the two sides would not agree.
    """
    key = jax.random.fold_in(jax.random.key(SEED), 0)
    process = DiffusionProcess.create(**setting_of(case.model).diffusion)

    def one(position):
        _, time_key, noise_key = jax.random.split(jax.random.fold_in(key, position), 3)
        return process.draw_timesteps(time_key, ()), jax.random.normal(noise_key, (case.size, case.size, 1))

    t, noise = jax.vmap(one)(np.arange(case.batch))
    return np.array(t), np.array(noise)


def read_params(model: nn.Module, files: Files, names: torch_weights.NameTable) -> Any:
    """The tree of weights of a case, as NumPy arrays."""
    return torch_weights.from_torch(load_state_dict(files.weights), param_shapes(model), names)


def param_shapes(model: nn.Module) -> Any:
    return jax.eval_shape(model.init, jax.random.key(0), *example_inputs(model, model.size_multiple))["params"]

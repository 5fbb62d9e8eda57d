"""The smallest network there is, as a config file for train.py and as a checkpoint for the other programs."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.data import ids_digest, load_dataset
from ddim_jax.models import create_model, example_inputs

SIZE = 16
_FIELDS: dict[str, Any] = {
    "model.preset": "small",
    "model.overrides.base_channels": 8,
    "model.overrides.channel_multipliers": (1,),
    "model.overrides.norm_groups": 4,
    "model.overrides.patch_size": 1,
    "diffusion.prediction": "x0",
    "diffusion.num_train_timesteps": 50,
    "data.name": "folder",
    "data.root": "",
    "data.image_size": SIZE,
    "data.counts": {"train": 4, "val": 2, "test": 2},
    "train.batch_size": 2,
    "train.steps": 2,
    "train.epochs": 0.0,
    "train.validation_steps": 1,
    "sample.steps": 1,
    "sample.samples": 1,
    "sample.protocol": "calibrated",
}


def write_config(path: Path, extra: str = "") -> None:
    """A config file on configs/base.py: two steps on the pictures of the working directory; `extra` are lines of it."""
    path.write_text(
        "from configs import base\n\n\ndef get_config():\n    config = base.get_config()\n    config.name = 'tiny'\n"
        + "".join(f"    config.{name} = {value!r}\n" for name, value in _FIELDS.items() if name != "data.counts")
        + extra
        + "    return config\n"
    )


def training(config: Path, *flags: str) -> tuple[str, ...]:
    """Arguments of train.py on the folder it is started in, with the run in run/."""
    return ("--config", str(config), "--config.data.root=.", "--workdir", "run", *flags)


def run_config(channels: int = 8) -> dict[str, Any]:
    """What the checkpoint of `make_run` says of itself: phantoms, so that it can be evaluated without files."""
    config: dict[str, Any] = {"seed": 0, "model": {"name": "lightweight_ddim", "overrides": {}}, "sample": {}}
    config |= {"diffusion": {"beta_start": 1e-4, "beta_end": 0.2}, "data": {}, "train": {}}
    for name, value in _FIELDS.items():
        *sections, field = name.split(".")
        place = config
        for section in sections:
            place = place[section]
        place[field] = value
    config["data"] |= {"name": "phantom", "root": None}
    config["sample"] |= {"eta": 0.0, "clip_x0": None, "sampler": "ddim"}
    config["model"]["overrides"]["base_channels"] = channels
    return config


def make_run(folder: Path, *, says_channels: int = 8) -> Path:
    """A run with a checkpoint of random weights, step 5.

    Args:
      folder: made.
      says_channels: what its config says; with another number than 8 the weights do not belong to it.
    """
    about = run_config()["model"]
    model = create_model(about["name"], preset=about["preset"], **about["overrides"])
    shapes = jax.eval_shape(model.init, jax.random.key(0), *example_inputs(model, SIZE))["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0.0, 0.2, leaf.shape).astype(np.float32), shapes)
    data = run_config()["data"]
    train = load_dataset("phantom", "train", image_size=SIZE, counts=data["counts"])
    metadata = {"config": run_config(says_channels), "data": {"train_ids_sha256": ids_digest(train)}}
    state = {"step": np.int32(5)}
    CheckpointStore(folder / "checkpoints").save(5, state=state, ema_params=params, metadata=metadata)
    return folder

"""The smallest network there is, as a config file for train.py and as a checkpoint for the other programs."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.config import resolve_config
from ddim_jax.data import ids_digest, load_dataset
from ddim_jax.data.generated import COUNTS
from ddim_jax.models import create_model, example_inputs
from tests.slow.trials import tiny_config

_FIELDS = {
    "data.name": "folder",
    "data.root": "",
    "data.counts": COUNTS,
    "train.batch_size": 2,
    "train.steps": 2,
    "sample.samples": 1,
}
"""Differences from `tiny_config` where training reads the images of a folder."""


def write_config(path: Path) -> None:
    """A config file on `tiny_config`: two steps on the images of the working directory."""
    path.write_text(
        "from tests.slow.trials import tiny_config\n\n\n"
        "def get_config():\n    config = tiny_config.get_config()\n    config.name = 'tiny'\n"
        + "".join(f"    config.{name} = {value!r}\n" for name, value in _FIELDS.items())
        + "    return config\n"
    )


def training(config: Path, *flags: str) -> tuple[str, ...]:
    """Arguments of train.py on the folder it is started in, with the run in run/."""
    return ("--config", str(config), "--config.data.root=.", "--workdir", "run", *flags)


def run_config(channels: int = 8) -> dict[str, Any]:
    """The config in the checkpoint of `make_run`: phantoms, so that it can be evaluated without files."""
    config = resolve_config(tiny_config.get_config())
    config["model"]["overrides"]["base_channels"] = channels
    return config


def make_run(folder: Path, *, says_channels: int = 8) -> Path:
    """A run with a checkpoint of random weights, step 5.

    Args:
      folder: made.
      says_channels: what its config says; with another number than 8 the weights do not belong to it.
    """
    config = run_config()
    about, data = config["model"], config["data"]
    model = create_model(about["name"], preset=about["preset"], **about["overrides"])
    shapes = jax.eval_shape(model.init, jax.random.key(0), *example_inputs(model, data["image_size"]))["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0.0, 0.2, leaf.shape).astype(np.float32), shapes)
    train = load_dataset("phantom", "train", image_size=data["image_size"], counts=data["counts"])
    metadata = {"config": run_config(says_channels), "data": {"train_ids_sha256": ids_digest(train)}}
    state = {"step": np.int32(5)}
    CheckpointStore(folder / "checkpoints").save(5, state=state, ema_params=params, metadata=metadata)
    return folder

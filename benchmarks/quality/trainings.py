"""Trainings in this process that tables are made of: the options of their commands, a config, a run to its end."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.result_file import result_parser
from configs import folder as folder_config
from ddim_jax.training import train


def training_parser(description: str, output: Path, workdir: str, seeds: Sequence[int]) -> argparse.ArgumentParser:
    """A `result_parser` with the options that say what is trained; `seeds` are a default."""
    parser = result_parser(description, output, workdir)
    parser.add_argument("--system", default="trunk_ddim", metavar="NAME", help="the network (%(default)s)")
    parser.add_argument("--steps", type=int, default=2000, metavar="N", help="of each training (%(default)s)")
    parser.add_argument("--size", type=int, default=64, metavar="N", help="side of the images (%(default)s)")
    default = " ".join(map(str, seeds))
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=list(seeds), metavar="N", help=f"of each row; default: {default}"
    )
    return parser


def folder_config_of(data: Path, given: argparse.Namespace, seed: int, *, rotation: float, validations: int) -> Any:
    """The config of configs/folder.py on the images of `data`, with what `given` says of `training_parser`.

    Args:
      rotation: images are turned by up to so many degrees.
      validations: in a run, at even distances; the best of them picks the checkpoint.
    """
    config = folder_config.get_config()
    config.model.name, config.seed = given.system, seed
    config.data.root, config.data.image_size, config.data.rotation_degrees = str(data), given.size, rotation
    config.train.steps, config.train.checkpoint_every = given.steps, max(1, given.steps // validations)
    return config


def train_to_end(config: Any, run: Path) -> None:
    """Trains all `train.steps` of a config in the folder `run`, or those that it lacks.

    Raises:
      KeyboardInterrupt: the run was asked to stop before; it has saved what it had.
      InputError: as `ddim_jax.training.train`.
    """
    if train(config, run) < config.train.steps:
        raise KeyboardInterrupt

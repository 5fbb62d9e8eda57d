"""What reads what a user gives: each with valid inputs and a way to damage them."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.faults import seeds
from benchmarks.faults.mutations import Damage, damage_bytes, damage_json, damage_lines, damage_picture
from ddim_jax.data.splits import read_split
from ddim_jax.inference.flagging import check_doubts, write_flagged
from ddim_jax.inference.index import Index
from ddim_jax.inference.outputs import Job
from ddim_jax.inference.parts import INDEX
from ddim_jax.inference.processes import Process
from ddim_jax.io.images import image_shape, read_image, read_mask
from ddim_jax.models import create_model, create_process
from ddim_jax.training.config import check_config, plain_config, resolve_system
from ddim_jax.training.form import check_form
from ddim_jax.training.optimiser import create_optimiser, learning_rate_schedule


class Reader(NamedTuple):
    """Something to try.

    Attributes:
      file: the name the input is given.
      seeds: valid inputs.
      damage: makes a bad one of them.
      read: what the programs do with the file; returns, or raises an `InputError`.
    """

    file: str
    seeds: list[bytes]
    damage: Damage
    read: Callable[[Path], object]


def read_picture(path: Path) -> None:
    """As sample.py and training read a picture; its shape is also read from its header alone."""
    shape = image_shape(path)
    image = read_image(path)
    if image.shape != (*shape, 3):
        raise AssertionError(f"image_shape says {shape}, the picture is {image.shape}")


def read_index(path: Path) -> None:
    """As sample.py opens, looks through and closes an output folder: `path` is its index."""
    (path.parent / "settings.json").write_text(json.dumps(seeds.SETTINGS))
    _go_through(path.parent)


def read_settings(path: Path) -> None:
    """The same for its settings."""
    (path.parent / INDEX).write_bytes(seeds.index_seeds()[0])
    _go_through(path.parent)


def _go_through(folder: Path) -> None:
    with contextlib.closing(Index(folder, seeds.SETTINGS, Process())) as index:
        for name in ("a", "b", "sub/c", "d"):
            job = Job(Path(f"/in/{name}.png"), name)
            with contextlib.suppress(FileNotFoundError):
                index.is_done(job, ("mask",), with_doubt=True)
            index.kinds(name)
        check_doubts(folder / INDEX, index.segmented, {"a", "b", "sub/c", "d"})
        index.close(lambda merged: write_flagged(folder / "flagged.csv", merged, 0.5))


def read_config(path: Path) -> None:
    """As training goes through a configuration before it looks at the data."""
    config = resolve_system(plain_config(json.loads(path.read_bytes())))
    check_form(config)
    about, train = config["model"], config["train"]
    model = create_model(about["name"], preset=about["preset"], **about["overrides"])
    create_process(model, config["diffusion"])
    check_config(config)
    rate = learning_rate_schedule(train["schedule"], train["learning_rate"], train["warmup_steps"], 10**9)
    create_optimiser(rate, beta1=train["beta1"], beta2=train["beta2"], gradient_clip=train["gradient_clip"])


def all_readers() -> dict[str, Reader]:
    """Every reader by name."""
    pictures = seeds.picture_seeds()
    settings = [json.dumps(seeds.SETTINGS).encode()]
    return {
        "picture": Reader("a.png", pictures, damage_picture, read_picture),
        "mask": Reader("a.png", pictures, damage_picture, read_mask),
        "splits": Reader("splits.csv", seeds.split_seeds(), damage_bytes, read_split),
        "index": Reader(INDEX, seeds.index_seeds(), damage_lines, read_index),
        "settings": Reader("settings.json", settings, _damage_settings, read_settings),
        "config": Reader("config.json", seeds.config_seeds(), damage_json, read_config),
    }


def _damage_settings(content: bytes, other: bytes, rng) -> bytes:
    return (damage_json if rng.random() < 0.7 else damage_bytes)(content, other, rng)

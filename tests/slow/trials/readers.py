"""Readers of files that a user gives: each with valid inputs and a way to damage them."""

import collections
import contextlib
import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ddim_jax.checkpoints import items
from ddim_jax.config import resolve_config, saved_config
from ddim_jax.data.tables import read_split
from ddim_jax.imageio.images import count_pixels, read_image, read_mask
from ddim_jax.inference.file_state import FileState
from ddim_jax.inference.flagging import write_flagged
from ddim_jax.inference.index import Index
from ddim_jax.inference.jobs import Job
from ddim_jax.inference.parts import INDEX
from ddim_jax.inference.processes import Process
from ddim_jax.sampling_options import SamplingOptions
from ddim_jax.training.optimiser import configured_optimiser
from ddim_jax.training.resume import check_same_config, check_same_data
from tests.slow.trials import seeds
from tests.slow.trials.mutations import Damage, damage_bytes, damage_json, damage_lines, damage_picture


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
    """Reads an image like sample.py and training; its size is also read from its header alone."""
    pixels = count_pixels(path)
    image = read_image(path)
    if image.shape[0] * image.shape[1] != pixels:
        raise AssertionError(f"count_pixels says {pixels}, the image is {image.shape}")


def read_index(path: Path) -> list[str]:
    """Opens and closes an output folder by its index `path` like sample.py; returns the names that are done."""
    return _go_through(path.parent, path.read_bytes(), json.dumps(seeds.SETTINGS).encode())


def read_settings(path: Path) -> list[str]:
    """The same for its settings."""
    return _go_through(path.parent, seeds.index_seeds()[0], path.read_bytes())


def _go_through(place: Path, index: bytes, settings: bytes) -> list[str]:
    """With images and results that are there, so that what the index says of them is compared."""
    pictures, folder = place / "in", place / "out"
    for name in seeds.INDEXED:
        for path, content in ((pictures / f"{name}.png", b"bytes"), (folder / f"{name}_mask.png", b"mask")):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        os.utime(pictures / f"{name}.png", ns=(seeds.MTIME_NS, seeds.MTIME_NS))
    # The seeds cannot know where the images will lie.
    (folder / INDEX).write_bytes(index.replace(b'"/in/', json.dumps(f"{pictures}/").encode()[:-1]))
    (folder / "settings.json").write_bytes(settings)
    with contextlib.closing(Index(folder, seeds.SETTINGS, Process())) as opened:
        done = []
        for name in seeds.INDEXED:
            if opened.is_done(Job(str(pictures), f"{name}.png", name), ("mask",)):
                done.append(name)
            tuple(opened.record(name).get("outputs", ()))
            opened.changed(name, FileState(len(b"bytes"), seeds.MTIME_NS))
        opened.close(lambda merged: write_flagged(folder / "flagged.csv", merged, 0.5))
    return done


def read_config(path: Path) -> None:
    """Goes through a configuration like training before it looks at the data."""
    train = resolve_config(json.loads(path.read_bytes()))["train"]
    configured_optimiser(train, 10**9)


def read_metadata(path: Path) -> None:
    """The answer of sample.py, and of training that goes on, to a checkpoint's metadata once its checksums agree."""
    folder = path.parent / "5"
    (folder / "metadata").mkdir(parents=True)
    (folder / "metadata" / "metadata").write_bytes(path.read_bytes())
    metadata = items.read_metadata(folder)
    config = saved_config(folder / "metadata" / "metadata", metadata)
    SamplingOptions.create(config)
    run = _runs()[config["model"]["name"]]
    check_same_config(metadata, run["config"], "runs/mine", folder)
    check_same_data(metadata, run["data"], "runs/mine", folder)


@functools.cache
def _runs() -> Mapping[str, Any]:
    """The metadata of the runs that go on with the undamaged checkpoints, by the name of the model."""
    found = [json.loads(content) for content in seeds.metadata_seeds()]
    runs = {metadata["config"]["model"]["name"]: metadata for metadata in found}
    return collections.defaultdict(lambda: found[0], runs)


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
        "metadata": Reader("metadata", seeds.metadata_seeds(), _damage_settings, read_metadata),
        "config": Reader("config.json", seeds.config_seeds(), damage_json, read_config),
    }


def _damage_settings(content: bytes, other: bytes, rng) -> bytes:
    return (damage_json if rng.random() < 0.7 else damage_bytes)(content, other, rng)

"""Times a call of sample.py besides its images: the first one, and those that find what it left on disk.

python -m benchmarks.speed.startup [--networks full small] [--size 256] [--repeats 5]

Saves a checkpoint of configs/fast.py with random weights, with the network of the paper ("full") or its own ("small"),
and starts sample.py on new images: on one, and on five. The difference is the time of four images, and what is left of
a call with one is its start. Writes docs/results/startup.json.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from benchmarks.machine import ROOT, provenance
from benchmarks.quality.runs import this_machine
from benchmarks.result_file import add_row
from benchmarks.speed.inputs import param_shapes, recommended_config
from configs import fast
from ddim_jax import __version__
from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.config import resolve_config
from ddim_jax.models import create_model
from ddim_jax.ops import cpu_kernels
from ddim_jax.runtime.cache_folder import cache_folder

OUTPUT = ROOT / "docs" / "results" / "startup.json"
NETWORKS = ("full", "small")
RULES = {
    "first_call_s": (
        "sample.py on one image, from the start of the process to its end, with no compiled program on disk; the "
        "files of the libraries may be in memory already"
    ),
    "call_s": "the same with another image of the same size, median of `repeats`; each finds the traced program",
    "picture_s": "(a call with five images - a call with one) / 4, medians: what one image more takes",
    "start_s": "call_s - picture_s: loading the libraries, the checkpoint and the program, writing, ending",
}
IDENTITY = ("network", "size", "device", "compiled_cpu_kernels")
"""Fields that tell one row from another."""
_MORE = 4  # images


def configuration(network: str, size: int) -> dict[str, Any]:
    """The config of configs/fast.py with one of `NETWORKS`, or "tiny" (of two levels), as a checkpoint carries it.

    "recommended" is configs/folder.py, at its own size.
    """
    if network == "recommended":
        return recommended_config()
    config = fast.get_config()
    config.data.image_size = size
    config.train.steps = 1000  # it is not trained
    if network == "tiny":
        config.model.overrides.update(base_channels=8, channel_multipliers=(1, 1), norm_groups=4, stem_stride=1)
        config.sample.update(samples=2, flips=False)
    return resolve_config(fast.full_size(config) if network == "full" else config)


def save_untrained(folder: Path, network: str, size: int) -> dict[str, Any]:
    """Saves a checkpoint with random weights; returns its configuration."""
    config = configuration(network, size)
    about = config["model"]
    model = create_model(about["name"], preset=about["preset"], **about["overrides"])
    shapes = param_shapes(model)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0.0, 0.02, leaf.shape).astype(np.float32), shapes)
    # Beside the weights of a run lie three times as many numbers, which are verified as well.
    state = {"params": params, "first_moment": params, "second_moment": params}
    CheckpointStore(folder / "checkpoints").save(0, state=state, ema_params=params, metadata={"config": config})
    return config


def measure(network: str, size: int, repeats: int, device: str) -> dict[str, Any]:
    """The row of one network."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = save_untrained(folder / "run", network, size)
        calls = _Calls(folder, size)
        first = calls.seconds(1)
        left = calls.traced()
        if not left:
            raise RuntimeError("the first call of sample.py has left no traced program on disk; nothing to measure")
        one, five = [], []
        for _ in range(repeats):
            one.append(calls.seconds(1))
            five.append(calls.seconds(1 + _MORE))
        if calls.traced() != left:
            raise RuntimeError("a later call of sample.py traced the network again")
    call_s = statistics.median(one)
    picture_s = (statistics.median(five) - call_s) / _MORE
    return {
        "network": network,
        "model": config["model"]["name"],
        "size": size,
        "steps": config["sample"]["steps"],
        "samples": config["sample"]["samples"],
        "device": device,
        "compiled_cpu_kernels": cpu_kernels.available(),
        "package_version": __version__,
        **provenance(),
        "jax": jax.__version__,
        "repeats": repeats,
        "first_call_s": round(first, 2),
        "call_s": round(call_s, 2),
        "call_s_range": [round(min(one), 2), round(max(one), 2)],
        "picture_s": round(picture_s, 2),
        "start_s": round(call_s - picture_s, 2),
    }


class _Calls:
    """Starts sample.py on images that it never saw, with a cache of its own."""

    def __init__(self, folder: Path, size: int):
        self._folder, self._size, self._made = folder, size, 0
        self._environment = {name: value for name, value in os.environ.items() if "COMPILATION_CACHE" not in name}
        own = folder / "cache" / "ddim_jax"
        self._environment["XDG_CACHE_HOME"] = str(own.parent)
        if cache_folder("kernels").is_dir():  # these are no part of what starts cold
            own.mkdir(parents=True, exist_ok=True)
            (own / "kernels").symlink_to(cache_folder("kernels"))

    def traced(self) -> list[str]:
        """The traced programs on disk."""
        return sorted(str(path) for path in (self._folder / "cache").rglob("traced/*/*.bin"))

    def seconds(self, pictures: int) -> float:
        """Seconds of a call with so many images."""
        call = self._folder / str(self._made)
        call.mkdir()
        for _ in range(pictures):
            self._made += 1
            pixels = np.random.default_rng(self._made).integers(0, 256, (self._size, self._size, 3), np.uint8)
            Image.fromarray(pixels).save(call / f"{self._made}.png")
        program = [sys.executable, str(ROOT / "sample.py"), f"--ckpt={self._folder / 'run'}"]
        start = time.perf_counter()
        given = [*program, f"--input={call}", f"--output={call / 'results'}"]
        subprocess.run(given, env=self._environment, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS, help="default: both")
    parser.add_argument("--size", type=int, default=256, metavar="N", help="height and width; default: 256")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE", help="docs/results/startup.json")
    given = parser.parse_args(arguments)
    if given.repeats < 1:
        parser.error("--repeats has to be at least 1")
    device = this_machine()["device"]
    for network in given.networks:
        row = measure(network, given.size, given.repeats, device)
        print(
            f"{network}: first call {row['first_call_s']} s, then {row['call_s']} s, of which {row['picture_s']} s an "
            f"image: starts in {row['start_s']} s",
            flush=True,
        )
        add_row(given.output, RULES, row, IDENTITY)
    return 0


if __name__ == "__main__":
    sys.exit(main())

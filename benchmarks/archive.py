"""An archive of many small pictures segmented by one process: its memory, its speed and how long the device waits.

python -m benchmarks.archive                                                   (20,000 pictures, a tiny network)
python -m benchmarks.archive --network recommended --count 400 --size 256      (the speed of configs/fast.py)

Generates the pictures in a temporary folder, segments them as sample.py does and adds a row to
docs/results/archive.json, in the place of one of the same network, pictures and device. Both networks have random
weights. With the tiny one files, and not arithmetic, are most of the work. Linux alone tells what is measured.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from benchmarks.ceilings import describe_host
from benchmarks.memory import high_water_bytes, reset_high_water
from benchmarks.startup import save_untrained
from benchmarks.table_machine import device_in_words
from benchmarks.table_rows import merged
from ddim_jax import Segmenter, __version__
from ddim_jax.inference import segment_files
from ddim_jax.inference.parts import INDEX
from ddim_jax.io.atomic import write_json
from ddim_jax.io.errors import report_input_errors
from ddim_jax.models import create_model, example_inputs

OUTPUT = Path(__file__).parents[1] / "docs" / "results" / "archive.json"
RULES = {
    "seconds": "of the whole run, from listing the files to the merged index, without compiling",
    "waited_share": "of these seconds, the share in which no picture could be started because the next was not read "
    "yet: the device was idle for want of input no longer than this",
    "peak_bytes_at_a_tenth": "the most memory that was resident from the start of the run until a tenth was done",
    "peak_bytes": "the most memory that was resident during the whole run",
    "result_bytes": "all that was written, the index included; masks of random weights are noise, which packs badly",
}
IDENTITY = ("network", "pictures", "picture_size", "device", "batch_size")
"""What tells one row from another."""
NETWORKS = ("tiny", "recommended")
_POLL_S = 0.01


def write_pictures(folder: Path, count: int, size: int) -> None:
    """Writes `count` different pictures of noise as PNG, [size, size] in colour, a thousand a folder."""
    for number in range(count):
        path = folder / f"{number // 1000:03}" / f"{number:06}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)
        Image.fromarray(pixels).save(path)


def untrained(size: int) -> Segmenter:
    """A network of two levels with random weights, for pictures of `size` pixels: one step, two samples."""
    overrides = {"base_channels": 8, "channel_multipliers": [1, 1], "norm_groups": 4, "patch_size": 1}
    config = {
        "model": {"name": "lightweight_ddim", "preset": "small", "overrides": overrides},
        "diffusion": {
            "prediction": "x0",
            "loss": "mse",
            "num_train_timesteps": 100,
            "beta_start": 1e-4,
            "beta_end": 0.02,
            "mask_scale": 1.0,
        },
        "data": {"image_size": size},
        "sample": {"steps": 1, "samples": 2, "eta": 0.0, "clip_x0": None, "protocol": "calibrated"},
    }
    model = create_model("lightweight_ddim", preset="small", **overrides)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *example_inputs(model, size))["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0.0, 0.2, leaf.shape).astype(np.float32), shapes)
    return Segmenter(model, params, config=config, step=0, checkpoint="untrained")


class PeakAtATenth:
    """Watches how many lines the index has, and takes down the memory when there are enough.

    Attributes:
      peak_bytes: None before.
    """

    def __init__(self, index: Path, lines: int):
        self.peak_bytes: int | None = None
        self._index, self._lines = index, lines
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakAtATenth":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        position = found = 0
        while found < self._lines:
            if self._stop.wait(_POLL_S):
                return
            if self._index.exists():
                with open(self._index, "rb") as file:
                    file.seek(position)
                    new = file.read()
                position, found = position + len(new), found + new.count(b"\n")
        self.peak_bytes = high_water_bytes()


def recommended(size: int) -> Segmenter:
    """The network of configs/fast.py with random weights, for pictures of `size` pixels."""
    with tempfile.TemporaryDirectory() as folder:
        save_untrained(Path(folder), "small", size)
        return Segmenter.load(folder)


def measure(network: str, segmenter: Segmenter, count: int, size: int, batch_size: int) -> dict[str, Any]:
    """The row of one run.

    Raises:
      RuntimeError: a picture could not be read, or the run was over before the memory at a tenth was taken.
    """
    with tempfile.TemporaryDirectory() as folder:
        pictures, out = Path(folder, "pictures"), Path(folder, "results")
        write_pictures(pictures, count, size)
        segmenter.segment(np.zeros((size, size, 3), np.uint8))  # compiles
        reset_high_water()
        with PeakAtATenth(out / INDEX, count // 10) as early:
            summary = segment_files(segmenter, pictures, out, batch_size=batch_size)
        peak = high_water_bytes()
        index_bytes = (out / INDEX).stat().st_size
        result_bytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if summary.done != count or early.peak_bytes is None:
        raise RuntimeError(f"{summary.done} of {count} pictures segmented, memory at a tenth {early.peak_bytes}")
    threads = len(os.sched_getaffinity(0))
    return {
        "network": network,
        "pictures": count,
        "picture_size": size,
        "image_size": segmenter.image_size,
        "steps": segmenter.settings().steps,
        "samples": segmenter.settings().samples,
        "batch_size": batch_size,
        "device": device_in_words(jax.devices()[0], threads),
        **describe_host(threads),
        "package_version": __version__,
        "seconds": round(summary.seconds, 2),
        "images_per_second": round(count / summary.seconds, 2),
        "waited_share": round(summary.waited / summary.seconds, 4),
        "peak_bytes_at_a_tenth": early.peak_bytes,
        "peak_bytes": peak,
        "index_bytes": index_bytes,
        "result_bytes": result_bytes,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, metavar="N", help="pictures, at least 10 (default: 20000)")
    parser.add_argument("--size", type=int, default=64, metavar="PIXELS", help="of the pictures' sides (default: 64)")
    parser.add_argument("--network", choices=NETWORKS, default=NETWORKS[0], help="default: tiny")
    parser.add_argument("--batch-size", type=int, default=4, metavar="N", help="as sample.py (default: 4)")
    parser.add_argument("--output", default=OUTPUT, metavar="FILE", help="default: docs/results/archive.json")
    given = parser.parse_args(arguments)
    if given.count < 10:
        parser.error(f"--count is {given.count}, expected at least 10")
    with report_input_errors():
        segmenter = (untrained if given.network == "tiny" else recommended)(given.size)
        row = measure(given.network, segmenter, given.count, given.size, given.batch_size)
    output = Path(given.output)
    rows = json.loads(output.read_text(encoding="utf-8"))["rows"] if output.exists() else []
    write_json(output, {"rules": RULES, "rows": merged(rows, [row], IDENTITY)})
    print(
        f"{row['pictures']} pictures, {row['images_per_second']} a second; the device waited {row['waited_share']:.1%} "
        f"of the time; memory {row['peak_bytes_at_a_tenth'] / 2**20:.0f} MiB after a tenth, "
        f"{row['peak_bytes'] / 2**20:.0f} MiB in all: {given.output}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

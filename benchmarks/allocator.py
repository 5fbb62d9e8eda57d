"""Training and segmenting on CPUs with the memory that a program frees kept for its next call, and given back.

python -m benchmarks.allocator [--steps 120] [--pictures 200] [--repeats 3]

Runs train.py with configs/demo.py at 64 x 64, 16 pictures a step, and segments generated pictures of 256 x 256 with the
network of configs/fast.py, on all processors of this machine, the two ways in turn. To give memory back, GLIBC_TUNABLES
is set to nothing: then the commands leave the allocator of glibc as it is. Writes docs/results/allocator.json.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.archive import write_pictures
from benchmarks.ceilings import describe_host
from benchmarks.children import end_on_sigterm
from benchmarks.table_run import ROOT
from benchmarks.train_runs import LOG_EVERY, train
from benchmarks.worker import Worker
from ddim_jax import __version__
from ddim_jax.runtime.allocator import SAID_BY
from ddim_jax.runtime.atomic import write_json

OUTPUT = ROOT / "docs" / "results" / "allocator.json"
RULES = {
    "kept": "images a second with freed memory kept, median of `repeats` runs",
    "given_back": "the same with the allocator of glibc left as it is",
    "kept_peak_bytes": "the most memory that was resident at once, median of the same runs; of training with "
    "compiling, of segmenting without",
    "given_back_peak_bytes": "the same with the allocator left as it is",
}
TRAIN_SIZE, BATCH, SEGMENT_SIZE = 64, 16, 256
_WARM = 8  # pictures that are segmented before
_WAYS = {"kept": {}, "given_back": {"GLIBC_TUNABLES": ""}}
_COMPILED_ANEW = {"JAX_ENABLE_COMPILATION_CACHE": "false"}

Run = Callable[[Mapping[str, str], Path], tuple[float, int]]
"""(environment, a folder of its own) -> images a second and the most bytes."""


def training(cpus: Sequence[int], steps: int) -> Run:
    """A run of train.py."""

    def run(environment: Mapping[str, str], folder: Path) -> tuple[float, int]:
        variables = {**_COMPILED_ANEW, **environment}
        return train([cpus], folder / "run", steps=steps, size=TRAIN_SIZE, batch=BATCH, environment=variables)

    return run


def segmenting(cpus: Sequence[int], pictures: Path, count: int) -> Run:
    """A process that segments the `count` files of a folder, as sample.py does; `pictures`_warm is unmeasured."""

    def run(environment: Mapping[str, str], folder: Path) -> tuple[float, int]:
        with Worker(
            "benchmarks.archive:Run", "recommended", SEGMENT_SIZE, cpus=cpus, environment=dict(environment)
        ) as worker:
            found = worker.call("segment", f"{pictures}_warm", str(pictures), str(folder / "results"), 4)
        if found["done"] != count:
            raise RuntimeError(f"{found['done']} of {count} pictures segmented")
        return count / found["seconds"], found["peak_bytes"]

    return run


def measure(what: str, run: Run, folder: Path, repeats: int) -> dict[str, Any]:
    """The row of `run` in both ways; which is first changes from turn to turn."""
    speeds: dict[str, list[float]] = {way: [] for way in _WAYS}
    peaks: dict[str, list[int]] = {way: [] for way in _WAYS}
    for repeat in range(repeats):
        for way in sorted(_WAYS, reverse=repeat % 2 == 0):
            own = folder / f"{what}-{way}-{repeat}"
            own.mkdir()
            speed, peak = run(_WAYS[way], own)
            speeds[way].append(speed)
            peaks[way].append(peak)
    kept, given_back = (statistics.median(speeds[way]) for way in ("kept", "given_back"))
    turns = zip(speeds["kept"], speeds["given_back"], strict=True)
    return {
        "what": what,
        "kept": round(kept, 2),
        "given_back": round(given_back, 2),
        "ratio": round(kept / given_back, 3),
        "ratios": [round(a / b, 3) for a, b in turns],
        **{f"{way}_peak_bytes": int(statistics.median(peaks[way])) for way in _WAYS},
        "repeats": repeats,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=120, metavar="N", help="of each training (default: 120)")
    parser.add_argument("--pictures", type=int, default=200, metavar="N", help="to segment (default: 200)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--output", default=str(OUTPUT), metavar="FILE", help="default: docs/results/allocator.json")
    given = parser.parse_args(arguments)
    if given.repeats < 1 or given.pictures < 1 or given.steps < 2 * LOG_EVERY:
        parser.error(f"--repeats and --pictures have to be at least 1 and --steps at least {2 * LOG_EVERY}")
    said = [name for name in SAID_BY if name in os.environ]
    if said:
        parser.error(f"{said[0]} is set, so that memory would be given back in both ways; unset it")
    cpus = sorted(os.sched_getaffinity(0))
    host = describe_host(len(cpus))
    about = {"device": f"{host['cpu']}, {len(cpus)} threads", "package_version": __version__}
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_pictures(folder / "pictures", given.pictures, SEGMENT_SIZE)
        write_pictures(folder / "pictures_warm", _WARM, SEGMENT_SIZE)
        for what, run in (
            ("training", training(cpus, given.steps)),
            ("segmenting", segmenting(cpus, folder / "pictures", given.pictures)),
        ):
            row = measure(what, run, folder, given.repeats)
            rows.append(row)
            print(f"{what}: {row['kept']} images a second kept, {row['given_back']} given back", flush=True)
            write_json(given.output, {"rules": RULES, **about, "rows": rows})
    return 0


if __name__ == "__main__":
    end_on_sigterm()
    sys.exit(main())

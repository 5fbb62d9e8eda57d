"""Training on CPUs with the memory that a step frees kept for the next, as train.py does, and given back.

python -m benchmarks.allocator [--steps 120] [--repeats 3]

Runs train.py with configs/demo.py at 64 x 64, 16 pictures a step, on all processors of this machine and on one of them,
the two ways in turn. To give memory back, GLIBC_TUNABLES is set to nothing: then train.py leaves the allocator of glibc
as it is. Writes docs/results/allocator.json.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.ceilings import describe_host
from benchmarks.children import end_on_sigterm
from benchmarks.table_run import ROOT
from benchmarks.train_runs import LOG_EVERY, Trained, train
from ddim_jax import __version__
from ddim_jax.io.atomic import write_json

OUTPUT = ROOT / "docs" / "results" / "allocator.json"
RULES = {
    "kept": "images a second with freed memory kept, median of `repeats` runs",
    "given_back": "the same with the allocator of glibc left as it is",
    "kept_peak_bytes": "the most memory that was resident at once, compiling included, median of the same runs",
    "given_back_peak_bytes": "the same with the allocator left as it is",
}
SIZE, BATCH = 64, 16
_WAYS = {"kept": {}, "given_back": {"GLIBC_TUNABLES": ""}}


def measure(cpus: Sequence[int], folder: Path, steps: int, repeats: int) -> dict[str, Any]:
    """The row of one process tied to `cpus`."""
    found: dict[str, list[Trained]] = {way: [] for way in _WAYS}
    for repeat in range(repeats):
        for way, environment in _WAYS.items():
            workdir = folder / f"{way}-{len(cpus)}-{repeat}"
            run = train([cpus], workdir, steps=steps, size=SIZE, batch=BATCH, environment=environment)
            found[way].append(run)
    speeds = {way: statistics.median(run.images_per_second for run in runs) for way, runs in found.items()}
    peaks = {f"{way}_peak_bytes": int(statistics.median(run.peak_bytes for run in found[way])) for way in _WAYS}
    turns = [a.images_per_second / b.images_per_second for a, b in zip(*found.values(), strict=True)]
    return {
        "threads": len(cpus),
        **{way: round(speed, 2) for way, speed in speeds.items()},
        "ratio": round(speeds["kept"] / speeds["given_back"], 3),
        "ratios": [round(ratio, 3) for ratio in turns],
        **peaks,
        "repeats": repeats,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=120, metavar="N", help="of each run (default: 120)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--output", default=str(OUTPUT), metavar="FILE", help="default: docs/results/allocator.json")
    given = parser.parse_args(arguments)
    if given.repeats < 1 or given.steps < 2 * LOG_EVERY:
        parser.error(f"--repeats has to be at least 1 and --steps at least {2 * LOG_EVERY}")
    cpus = sorted(os.sched_getaffinity(0))
    about = {"device": describe_host(len(cpus))["cpu"], "size": SIZE, "batch": BATCH, "package_version": __version__}
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for own in {len(own): own for own in (cpus, cpus[:1])}.values():
            row = measure(own, Path(temporary), given.steps, given.repeats)
            rows.append(row)
            print(f"{row['threads']} threads: {row['kept']} and {row['given_back']} images a second", flush=True)
            write_json(given.output, {"rules": RULES, **about, "rows": rows})
    return 0


if __name__ == "__main__":
    end_on_sigterm()
    sys.exit(main())

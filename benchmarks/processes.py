"""What a second process brings: images a second of one process with one thread, and of two with one thread each.

python -m benchmarks.processes [--pictures 600] [--steps 120] [--size 64] [--repeats 3]

Training: train.py on generated phantoms with configs/demo.py, the same global batch on one process and on two that
train together. Segmenting: the files of one folder, divided as sample.py --process-count divides them, by processes
that have loaded and compiled before they start together. One and two processes take turns; Linux alone can tie them to
a processor. Writes docs/results/processes.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.archive import write_pictures
from benchmarks.ceilings import describe_host
from benchmarks.children import dying_with_this, end_on_sigterm
from benchmarks.free_port import free_port
from benchmarks.startup import save_untrained
from benchmarks.table_run import ROOT
from benchmarks.worker import Worker
from ddim_jax import Segmenter, __version__
from ddim_jax.inference import segment_files
from ddim_jax.io.atomic import write_json

OUTPUT = ROOT / "docs" / "results" / "processes.json"
RULES = {
    "one": "images a second of one process that is tied to one processor, median of `repeats`",
    "two": "the same of two processes, each tied to a processor of its own",
    "training": "the global batch is the same; median over the run, compilation and validation apart",
    "segmenting": "all pictures over the time of the process that ends last; loading and compilation apart",
}
_LOG_EVERY = 10
_ON_CPU = {"JAX_PLATFORMS": "cpu"}


class Segmenting:
    """One process of those that segment a folder; lives in a worker that is tied to its processor."""

    def __init__(self, run: str, size: int):
        self._segmenter = Segmenter.load(run)
        self._segmenter.segment(np.zeros((size, size, 3), np.uint8))  # compiles

    def segment(self, pictures: str, output: str, index: int, count: int) -> int:
        """How many pictures this process segmented."""
        done = segment_files(self._segmenter, pictures, output, process_index=index, process_count=count)
        return done.done


def segmenting(cpus: Sequence[int], folder: Path, pictures: int, size: int, repeats: int) -> dict[str, Any]:
    """The row of segmenting `pictures` files."""
    save_untrained(folder / "run", "small", size)
    write_pictures(folder / "pictures", pictures, size)
    with (
        _worker(folder, size, cpus[0]) as first,
        _worker(folder, size, cpus[1]) as second,
    ):

        def rate(workers: Sequence[Worker], output: Path) -> float:
            found = [0] * len(workers)

            def one(index: int) -> None:
                found[index] = workers[index].call(
                    "segment", str(folder / "pictures"), str(output), index, len(workers)
                )

            threads = [threading.Thread(target=one, args=(index,)) for index in range(len(workers))]
            start = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            seconds = time.perf_counter() - start
            if sum(found) != pictures:
                raise RuntimeError(f"{found} of {pictures} pictures were segmented")
            return pictures / seconds

        rate([first, second], folder / "warm")
        rates = {1: [], 2: []}
        for repeat in range(repeats):
            rates[1].append(rate([first], folder / f"one{repeat}"))
            rates[2].append(rate([first, second], folder / f"two{repeat}"))
    return {"what": "segmenting", "pictures": pictures, **_row(rates)}


def _worker(folder: Path, size: int, cpu: int) -> Worker:
    return Worker("benchmarks.processes:Segmenting", str(folder / "run"), size, cpus=[cpu], environment=_ON_CPU)


def training(cpus: Sequence[int], folder: Path, steps: int, size: int, repeats: int) -> dict[str, Any]:
    """The row of training `steps` steps."""
    rates = {1: [], 2: []}
    for repeat in range(repeats):
        for count in rates:
            rates[count].append(_train(cpus[:count], folder / f"train-{count}-{repeat}", steps, size))
    return {"what": "training", "steps": steps, **_row(rates)}


def _train(cpus: Sequence[int], workdir: Path, steps: int, size: int) -> float:
    """Images a second of a run with one process on each of `cpus`."""
    address = f"127.0.0.1:{free_port()}"
    fields = {"train.steps": steps, "train.checkpoint_every": steps, "train.log_every": _LOG_EVERY}
    fields |= {"train.validation_images": 1, "train.warmup_steps": 1, "data.image_size": size}
    program = [sys.executable, str(ROOT / "train.py"), "--config", str(ROOT / "configs" / "demo.py")]
    program += [f"--workdir={workdir}", *(f"--config.{name}={value}" for name, value in fields.items())]
    if len(cpus) > 1:
        program += [f"--coordinator-address={address}", f"--process-count={len(cpus)}"]
    processes = []
    for index, cpu in enumerate(cpus):
        own = [f"--process-id={index}"] if len(cpus) > 1 else []
        tied = ["taskset", "--cpu-list", str(cpu)]
        command = dying_with_this([*tied, *program, *own])
        processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **_ON_CPU}))
    try:
        statuses = [process.wait() for process in processes]
    finally:
        for process in processes:
            process.kill()
    if any(statuses):
        raise RuntimeError(f"train.py ended with {statuses}")
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return statistics.median(line["images_per_second"] for line in lines if "images_per_second" in line)


def _row(rates: dict[int, list[float]]) -> dict[str, Any]:
    one, two = (statistics.median(rates[count]) for count in (1, 2))
    return {
        "one": round(one, 2),
        "two": round(two, 2),
        "ratio": round(two / one, 3),
        "ratios": [round(b / a, 3) for a, b in zip(rates[1], rates[2], strict=True)],
        "repeats": len(rates[1]),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=600, metavar="N", help="to segment (default: 600)")
    parser.add_argument("--steps", type=int, default=120, metavar="N", help="of training (default: 120)")
    parser.add_argument("--size", type=int, default=64, metavar="N", help="height and width (default: 64)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--output", default=str(OUTPUT), metavar="FILE", help="default: docs/results/processes.json")
    given = parser.parse_args(arguments)
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        parser.error("two processors are needed; this process may use one")
    if given.repeats < 1 or given.steps < 2 * _LOG_EVERY:
        parser.error(f"--repeats has to be at least 1 and --steps at least {2 * _LOG_EVERY}")
    about = {"device": describe_host(threads=1)["cpu"], "size": given.size, "package_version": __version__}
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for measured in (
            lambda: segmenting(cpus, folder, given.pictures, given.size, given.repeats),
            lambda: training(cpus, folder, given.steps, given.size, given.repeats),
        ):
            rows.append(measured())
            row = rows[-1]
            print(f"{row['what']}: {row['one']} and {row['two']} images a second, {row['ratio']} times", flush=True)
            write_json(given.output, {"rules": RULES, **about, "rows": rows})
    return 0


if __name__ == "__main__":
    end_on_sigterm()
    sys.exit(main())

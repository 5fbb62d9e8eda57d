"""The gain of a second process: images a second of one process with one thread, and of two with one thread each.

python -m benchmarks.speed.processes [--pictures 600] [--steps 120] [--size 64] [--repeats 3]

Training: train.py on generated phantoms with configs/demo.py, one process and two that train together, once with the
same batch in all and then with the same batch for each process, small and large. Segmenting: the files of one folder,
divided as sample.py --process-count divides them, by processes that have loaded and compiled before they start
together. One and two processes take turns; Linux alone can tie them to a processor. Writes docs/results/processes.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.children import dying_with_this, end_on_sigterm, free_port
from benchmarks.machine import ROOT, describe_host, provenance
from benchmarks.speed.archive import write_pictures
from benchmarks.speed.startup import save_untrained
from benchmarks.worker import Worker
from ddim_jax import Segmenter, __version__
from ddim_jax.inference import Process, segment_files
from ddim_jax.runtime import allocator
from ddim_jax.runtime.atomic import write_json

OUTPUT = ROOT / "docs" / "results" / "processes.json"
RULES = {
    "one": "images a second of one process that is tied to one processor, median of `repeats`",
    "two": "the same of two processes, each tied to a processor of its own",
    "training": "median over the run, compilation and validation apart; batch_of_one and batch_of_two are the images "
    "of a step, of both processes together",
    "segmenting": "all images over the time of the process that ends last; loading and compilation apart",
}
BATCHES = ((16, 16), (16, 32), (64, 128))
"""Images of a step of one process and of two: the same in all, and the same for each of the two."""
LOG_EVERY = 10
"""Steps of which one speed is reported."""


class Segmenting:
    """One process of those that segment a folder; lives in a worker that is tied to its processor."""

    def __init__(self, run: str, size: int):
        allocator.keep_freed_memory()  # as sample.py does
        self._segmenter = Segmenter.load(run)
        self._segmenter.segment(np.zeros((size, size, 3), np.uint8))  # compiles

    def segment(self, pictures: str, output: str, index: int, count: int) -> int:
        """The number of images that this process segmented."""
        done = segment_files(self._segmenter, pictures, output, process=Process(index, count))
        return done.done


def segmenting(cpus: Sequence[int], folder: Path, pictures: int, size: int, repeats: int) -> dict[str, Any]:
    """The row of segmenting `pictures` files."""
    save_untrained(folder / "run", "small", size)
    write_pictures(folder / "pictures", pictures, size)
    given = ("benchmarks.speed.processes:Segmenting", str(folder / "run"), size)
    on_cpu = {"JAX_PLATFORMS": "cpu"}
    with (
        Worker(*given, cpus=cpus[:1], environment=on_cpu) as first,
        Worker(*given, cpus=cpus[1:2], environment=on_cpu) as second,
        ThreadPoolExecutor() as threads,
    ):

        def rate(workers: Sequence[Worker], output: Path) -> float:
            def one(index: int) -> int:
                return workers[index].call("segment", str(folder / "pictures"), str(output), index, len(workers))

            start = time.perf_counter()
            found = list(threads.map(one, range(len(workers))))
            seconds = time.perf_counter() - start
            if sum(found) != pictures:
                raise RuntimeError(f"{found} of {pictures} images were segmented")
            return pictures / seconds

        rate([first, second], folder / "warm")
        rates = {1: [], 2: []}
        for repeat in range(repeats):
            rates[1].append(rate([first], folder / f"one{repeat}"))
            rates[2].append(rate([first, second], folder / f"two{repeat}"))
    return {"what": "segmenting", "pictures": pictures, **_row(rates)}


def train(cpus: Sequence[int], workdir: Path, *, steps: int, size: int, batch: int) -> float:
    """Images a second of train.py on generated phantoms: the median of its reports, compiling and validating apart.

    Args:
      cpus: the processors; one process, with one thread, is tied to each.
      workdir: of the run; it is not there yet.
      steps: of training.
      size: height and width.
      batch: images of a step, of all processes together.

    Raises:
      RuntimeError: a process ended with another status than 0.
    """
    fields = {"train.steps": steps, "train.checkpoint_every": steps, "train.log_every": LOG_EVERY}
    fields |= {
        "train.validation_images": 1,
        "train.warmup_steps": 1,
        "train.batch_size": batch,
        "data.image_size": size,
    }
    program = [sys.executable, str(ROOT / "train.py"), "--config", str(ROOT / "configs" / "demo.py")]
    program += [f"--workdir={workdir}", *(f"--config.{name}={value}" for name, value in fields.items())]
    if len(cpus) > 1:
        program += [f"--coordinator-address=127.0.0.1:{free_port()}", f"--process-count={len(cpus)}"]
    running = []
    for index, cpu in enumerate(cpus):
        own = [f"--process-id={index}"] if len(cpus) > 1 else []
        command = dying_with_this(["taskset", "--cpu-list", str(cpu), *program, *own])
        variables = {**os.environ, "JAX_PLATFORMS": "cpu"}
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, env=variables))
    try:
        while any(process.poll() is None for process in running) and not any(process.returncode for process in running):
            time.sleep(0.1)  # where one fails, the others would wait for it
        failed = [process.returncode for process in running if process.returncode]
    finally:
        for process in running:
            process.kill()
            process.wait()
    if failed:
        raise RuntimeError(f"train.py ended with {failed}")
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return statistics.median(line["images_per_second"] for line in lines if "images_per_second" in line)


def training(
    cpus: Sequence[int], folder: Path, steps: int, size: int, repeats: int, batches: tuple[int, int]
) -> dict[str, Any]:
    """The row of training `steps` steps of `batches` images, on one process and on two."""
    rates = {1: [], 2: []}
    for repeat in range(repeats):
        for count, batch in zip(rates, batches, strict=True):
            workdir = folder / f"train-{'-'.join(map(str, batches))}-{count}-{repeat}"
            rates[count].append(train(cpus[:count], workdir, steps=steps, size=size, batch=batch))
    return {"what": "training", "steps": steps, "batch_of_one": batches[0], "batch_of_two": batches[1], **_row(rates)}


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
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE", help="docs/results/processes.json")
    given = parser.parse_args(arguments)
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        parser.error("two processors are needed; this process may use one")
    if given.repeats < 1 or given.steps < 2 * LOG_EVERY:
        parser.error(f"--repeats has to be at least 1 and --steps at least {2 * LOG_EVERY}")
    about = {"device": describe_host(threads=1)["cpu"], "size": given.size, "package_version": __version__}
    about |= provenance()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = [segmenting(cpus, folder, given.pictures, given.size, given.repeats)]
        for batches in BATCHES:
            write_json(given.output, {"rules": RULES, **about, "rows": rows})
            rows.append(training(cpus, folder, given.steps, given.size, given.repeats, batches))
        write_json(given.output, {"rules": RULES, **about, "rows": rows})
    for row in rows:
        print(f"{row['what']}: {row['one']} and {row['two']} images a second, {row['ratio']} times")
    return 0


if __name__ == "__main__":
    end_on_sigterm()
    sys.exit(main())

"""One run of train.py with configs/demo.py: its speed and the most memory it took."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.children import dying_with_this, free_port
from benchmarks.machine import ROOT
from benchmarks.memory import high_water_bytes

LOG_EVERY = 10
"""Steps of which one speed is reported."""

_EVERY = 0.1  # seconds between two looks at what was the most memory of a process until then


class Trained(NamedTuple):
    """Of one run.

    Attributes:
      images_per_second: median of the reports; compiling, validating and saving lie outside of them.
      peak_bytes: the most that was resident at once of one process, the compiler's work included.
    """

    images_per_second: float
    peak_bytes: int


def train(
    processes: Sequence[Sequence[int]],
    workdir: Path,
    *,
    steps: int,
    size: int,
    batch: int,
    environment: Mapping[str, str] | None = None,
) -> Trained:
    """Trains on generated phantoms, on CPUs.

    Args:
      processes: for each of the processes that train together the numbers of the processors it is tied to, which are
        as many as its threads of computation.
      workdir: of the run; it is not there yet.
      steps: of training.
      size: height and width.
      batch: pictures of a step, of all processes together.
      environment: variables besides those of this process.

    Raises:
      RuntimeError: a process ended with another status than 0, or the system does not tell its memory.
    """
    address = f"127.0.0.1:{free_port()}"
    fields = {"train.steps": steps, "train.checkpoint_every": steps, "train.log_every": LOG_EVERY}
    fields |= {"train.validation_images": 1, "train.warmup_steps": 1}
    fields |= {"train.batch_size": batch, "data.image_size": size}
    program = [sys.executable, str(ROOT / "train.py"), "--config", str(ROOT / "configs" / "demo.py")]
    program += [f"--workdir={workdir}", *(f"--config.{name}={value}" for name, value in fields.items())]
    if len(processes) > 1:
        program += [f"--coordinator-address={address}", f"--process-count={len(processes)}"]
    variables = {**os.environ, "JAX_PLATFORMS": "cpu", **(environment or {})}
    running = []
    for index, cpus in enumerate(processes):
        own = [f"--process-id={index}"] if len(processes) > 1 else []
        command = dying_with_this(["taskset", "--cpu-list", ",".join(map(str, cpus)), *program, *own])
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, env=variables))
    peak = 0
    try:
        while any(status is None for status in [process.poll() for process in running]):
            if any(process.returncode for process in running):
                break  # the others would wait for it
            # The system's own account of an ended child (ru_maxrss) has what this process took when it forked.
            peak = max(peak, *(high_water_bytes(process.pid) for process in running if process.returncode is None))
            time.sleep(_EVERY)
        failed = [process.returncode for process in running if process.returncode]
    finally:
        for process in running:
            process.kill()
            process.wait()
    if failed:
        raise RuntimeError(f"train.py ended with {failed}")
    if not peak:
        raise RuntimeError("this system does not tell the memory of a process; it is measured on Linux alone")
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    speeds = [line["images_per_second"] for line in lines if "images_per_second" in line]
    return Trained(statistics.median(speeds), peak)

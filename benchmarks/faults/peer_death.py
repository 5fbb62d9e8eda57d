"""Two processes that train one model on this machine; one is killed. When does the other end, and what does it say?"""

import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.programs import FaultRunFailed, Program, first_step, last_step, start_training
from benchmarks.faults.weights import checkpoints, newest_complete
from benchmarks.free_port import free_port

VICTIMS = (0, 1, 0, 1)
"""Which of the two is killed, each time in a run of its own."""
_STEPS, _EVERY = 80, 5
_COUNT = 2
RULES = {
    "seconds": "from SIGKILL to one process until the other had ended; the longest of all",
    "unnamed": "deaths after which the other did not end with status 75 and an error that says which process is lost "
    "and that the same command goes on",
    "not_continued": "runs that, started again with both, did not go on from the newest complete checkpoint or a later "
    "one to their end",
}


def measure(workdir: Path, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Kills each of `VICTIMS` after a random step and starts both again.

    Raises:
      FaultRunFailed: a run was over before the kill.
    """
    rng, each = np.random.default_rng(seed), []
    for number, victim in enumerate(VICTIMS):
        each.append(death(workdir / str(number), victim, int(rng.integers(1, _STEPS // 2))))
        say(f"process {victim} killed after step {each[-1]['step']}: {each[-1]}")
    return {
        "seconds": max(one["seconds"] for one in each),
        "n": len(each),
        "unnamed": sum(not one["named"] for one in each),
        "not_continued": sum(not one["continued"] for one in each),
        "each": each,
        "rules": RULES,
    }


def death(workdir: Path, victim: int, step: int) -> dict[str, Any]:
    """One run whose process `victim` is killed after `step`, and that is started again.

    Raises:
      FaultRunFailed: a process had ended before the kill.
    """
    shutil.rmtree(workdir, ignore_errors=True)
    run = workdir / "run"
    processes = _start(run, workdir / "logs", "killed")
    survivor = processes[1 - victim]
    try:
        # Process 0 speaks for both.
        reached = processes[0].wait_until(lambda: (last_step(processes[0].said) or 0) >= step)
        if not reached or processes[victim].kill() != -signal.SIGKILL:
            raise FaultRunFailed(f"the run was over before the kill: {processes[0].last_words()}")
        began = time.monotonic()
        status = survivor.wait()
        seconds = time.monotonic() - began
    finally:
        for process in processes:
            process.kill()
    newest = newest_complete(checkpoints(run))
    again = _start(run, workdir / "logs", "again")
    try:
        ended = [process.wait() for process in again]
    finally:
        for process in again:
            process.kill()
    resumed = first_step(again[0].said)
    complete = newest_complete(checkpoints(run)) == _STEPS
    return {
        "victim": victim,
        "step": step,
        "seconds": round(seconds, 2),
        "named": is_named(status, survivor.said, victim),
        "continued": ended == [0] * _COUNT and resumed is not None and resumed >= newest and complete,
    }


def is_named(status: int | None, said: str, victim: int) -> bool:
    """Whether the other process said which one is lost and what to do; a `status` of None: it had to be killed."""
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    whom = rf"process {victim}( of {_COUNT})?(, which coordinates| is lost)"
    return (
        status == 75
        and len(errors) == 1
        and re.search(whom, errors[0]) is not None
        and "Start the same command again on all processes" in errors[0]
    )


def _start(run: Path, logs: Path, name: str) -> list[Program]:
    address = f"127.0.0.1:{free_port()}"
    joined = [f"--coordinator-address={address}", f"--process-count={_COUNT}"]
    return [
        start_training(
            run, logs / f"{name}_{index}.log", *joined, f"--process-id={index}", steps=_STEPS, checkpoint_every=_EVERY
        )
        for index in range(_COUNT)
    ]

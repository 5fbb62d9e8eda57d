"""Two processes that train one model on this machine; one is killed. When does the other end, and what does it say?"""

import re
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.children import free_port
from ddim_jax.runtime.errors import TRY_AGAIN
from tests.slow.trials.programs import (
    FaultRunFailed,
    Program,
    checkpoints,
    first_step,
    last_step,
    newest_complete,
    start_training,
)

DEATHS = tuple((kind, victim) for kind in ("anywhere", "starting", "saving") for victim in (0, 1))
"""Moment and number of the process that is killed, each in a run of its own; the first ones give the times."""
_STEPS, _EVERY, _COUNT = 80, 5, 2
RULES = {
    "n": "SIGKILL to one of two processes of train.py, each in turn: after a random step, at a moment uniform over the "
    "time from where process 0 says at which step it begins to its first report, and over that of the first validation "
    "and save; the times are those of the run before that got so far",
    "before_first_step": "of these: the processes had joined, and no step had been reported",
    "while_saving": "of these: a step was reported with which a checkpoint is due, and the checkpoint was not complete",
    "seconds": "from SIGKILL to one process until the other had ended; the longest of all",
    "unnamed": f"deaths after which the other did not end with status {TRY_AGAIN} and a line that says that a process "
    "is lost and that the same command goes on",
    "not_continued": "runs that, started again with both, did not go on from the newest complete checkpoint or a later "
    "one to their end",
}


def measure(
    workdir: Path,
    seed: int,
    say: Callable[[str], None],
    deaths: Sequence[tuple[str, int]] = DEATHS,
    steps: int = _STEPS,
) -> dict[str, Any]:
    """Kills a process as each of `deaths` says and starts both again, for `steps` in all.

    Raises:
      FaultRunFailed: a run was over before the kill.
    """
    rng, each, times = np.random.default_rng(seed), [], {}
    for number, (kind, victim) in enumerate(deaths):
        each.append(death(workdir / str(number), kind, victim, rng, times, steps))
        say(f"process {victim} killed, {kind}, after step {each[-1]['step']}: {each[-1]}")
    return {
        "seconds": max(one["seconds"] for one in each),
        "n": len(each),
        "before_first_step": sum(one["step"] == 0 for one in each),
        "while_saving": sum(one["while_saving"] for one in each),
        "unnamed": sum(not one["named"] for one in each),
        "not_continued": sum(not one["continued"] for one in each),
        "each": each,
        "rules": RULES,
    }


def death(
    workdir: Path, kind: str, victim: int, rng: np.random.Generator, times: dict[str, float], steps: int = _STEPS
) -> dict[str, Any]:
    """One run whose process `victim` is killed at a random moment of `kind`, and that is started again.

    Args:
      workdir: of the run and its logs.
      kind, victim: of `DEATHS`.
      rng: of the moment.
      times: seconds that the moments of a kind are spread over; filled in by a death of the kind "anywhere".
      steps: of the whole run.

    Raises:
      FaultRunFailed: a process had ended before the kill.
    """
    shutil.rmtree(workdir, ignore_errors=True)
    run = workdir / "run"
    processes = _start(run, workdir / "logs", "killed", steps)
    survivor = processes[1 - victim]
    try:
        _wait(processes[0], kind, run, rng, times, steps)  # process 0 speaks for both
        killed, began = processes[victim].kill(), time.monotonic()
        step, newest = last_step(processes[0].said) or 0, newest_complete(checkpoints(run))
        if killed != -signal.SIGKILL:
            raise FaultRunFailed(f"the run was over before the kill: {processes[0].last_words()}")
        status = survivor.wait()
        seconds = time.monotonic() - began
    finally:
        for process in processes:
            process.kill()
    while_saving = step > 0 and step % _EVERY == 0 and newest < step
    newest = newest_complete(checkpoints(run))
    again = _start(run, workdir / "logs", "again", steps)
    try:
        ended = [process.wait() for process in again]
    finally:
        for process in again:
            process.kill()
    resumed, complete = first_step(again[0].said), newest_complete(checkpoints(run)) == steps
    return {
        "kind": kind,
        "victim": victim,
        "step": step,
        "while_saving": while_saving,
        "seconds": round(seconds, 2),
        "named": is_named(status, survivor.said),
        "continued": ended == [0] * _COUNT and resumed is not None and resumed >= newest and complete,
    }


def _wait(
    process: Program, kind: str, run: Path, rng: np.random.Generator, times: dict[str, float], steps: int
) -> None:
    """Waits for the moment to kill; fills in the times of a run that is left alone until after its first checkpoint.

    Raises:
      FaultRunFailed: the run was over before.
    """

    def until(condition: Callable[[], bool]) -> float:
        if not process.wait_until(condition):
            raise FaultRunFailed(f"the run was over before the kill: {process.last_words()}")
        return time.monotonic()

    def reported() -> int:
        return last_step(process.said) or 0

    if kind == "anywhere":
        step = int(rng.integers(_EVERY + 1, steps // 2))
        began = until(lambda: first_step(process.said) is not None)
        times["starting"] = until(lambda: reported() > 0) - began
        due = until(lambda: reported() >= _EVERY)
        times["saving"] = until(lambda: newest_complete(checkpoints(run)) > 0) - due
        until(lambda: reported() >= step)
    elif kind == "starting":
        moment = until(lambda: first_step(process.said) is not None) + rng.random() * times["starting"]
        until(lambda: time.monotonic() >= moment or reported() > 0)
    else:
        moment = until(lambda: reported() >= _EVERY) + rng.random() * times["saving"]
        until(lambda: time.monotonic() >= moment)


def is_named(status: int | None, said: str) -> bool:
    """True if the other process said that one is lost and what to do; a `status` of None: it had to be killed."""
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    lost = len(errors) == 1 and re.search(r"process \d+( of \d+)?, which coordinates|is lost|was lost", errors[0])
    return status == TRY_AGAIN and bool(lost) and "tart the same command again" in errors[0]


def _start(run: Path, logs: Path, name: str, steps: int) -> list[Program]:
    joined = [f"--coordinator-address=127.0.0.1:{free_port()}", f"--process-count={_COUNT}"]
    fields = {"steps": steps, "checkpoint_every": _EVERY}
    return [
        start_training(run, logs / f"{name}_{index}.log", *joined, f"--process-id={index}", **fields)
        for index in range(_COUNT)
    ]

"""Two processes that train one model on this machine; one is killed. When does the other end, and what does it say?"""

import re
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.children import free_port
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
"""When a process is killed and which of the two, each time in a run of its own; the first ones give the times."""
_STEPS, _EVERY = 80, 5
_COUNT = 2
RULES = {
    "n": "SIGKILL to one of two processes of train.py, each in turn: after a random step, at a moment uniform over the "
    "time from where process 0 says at which step it begins to its first report, and over that of the first validation "
    "and save; the times are those of the run before that got so far",
    "before_first_step": "of these: the processes had joined, and no step had been reported",
    "while_saving": "of these: a step was reported with which a checkpoint is due, and the checkpoint was not complete",
    "seconds": "from SIGKILL to one process until the other had ended; the longest of all",
    "unnamed": "deaths after which the other did not end with status 75 and an error that says which process is lost "
    "and that the same command goes on",
    "not_continued": "runs that, started again with both, did not go on from the newest complete checkpoint or a later "
    "one to their end",
}


class Times(NamedTuple):
    """Seconds of a run of two.

    Attributes:
      start: from where process 0 says at which step it begins to its first report.
      save: from the report of the step of the first checkpoint until that is complete, validation included.
    """

    start: float
    save: float


def measure(
    workdir: Path, seed: int, say: Callable[[str], None], deaths: Sequence[tuple[str, int]] = DEATHS
) -> dict[str, Any]:
    """Kills a process as each of `deaths` says and starts both again.

    Raises:
      FaultRunFailed: a run was over before the kill.
    """
    rng, each, times = np.random.default_rng(seed), [], None
    for number, (kind, victim) in enumerate(deaths):
        one, measured = death(workdir / str(number), kind, victim, rng, times)
        times = measured or times
        each.append(one)
        say(f"process {victim} killed, {kind}, after step {one['step']}: {one}")
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
    workdir: Path, kind: str, victim: int, rng: np.random.Generator, times: Times | None
) -> tuple[dict[str, Any], Times | None]:
    """One run whose process `victim` is killed at a random moment of `kind`, and that is started again.

    Returns:
      What came of it, and the times of the run where it went on for long enough before ("anywhere").

    Raises:
      FaultRunFailed: a process had ended before the kill.
    """
    shutil.rmtree(workdir, ignore_errors=True)
    run = workdir / "run"
    processes = _start(run, workdir / "logs", "killed")
    survivor = processes[1 - victim]
    try:
        measured = _wait(processes[0], kind, run, rng, times)  # process 0 speaks for both
        killed = processes[victim].kill()
        began = time.monotonic()
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
    again = _start(run, workdir / "logs", "again")
    try:
        ended = [process.wait() for process in again]
    finally:
        for process in again:
            process.kill()
    resumed = first_step(again[0].said)
    complete = newest_complete(checkpoints(run)) == _STEPS
    told = {
        "kind": kind,
        "victim": victim,
        "step": step,
        "while_saving": while_saving,
        "seconds": round(seconds, 2),
        "named": is_named(status, survivor.said, victim),
        "continued": ended == [0] * _COUNT and resumed is not None and resumed >= newest and complete,
    }
    return told, measured


def _wait(process: Program, kind: str, run: Path, rng: np.random.Generator, times: Times | None) -> Times | None:
    """Waits for the moment to kill; the times of a run that is left alone until after its first checkpoint.

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
        step = int(rng.integers(_EVERY + 1, _STEPS // 2))
        began = until(lambda: first_step(process.said) is not None)
        first, due = until(lambda: reported() > 0), until(lambda: reported() >= _EVERY)
        complete = until(lambda: newest_complete(checkpoints(run)) > 0)
        until(lambda: reported() >= step)
        return Times(start=first - began, save=complete - due)
    if kind == "starting":
        moment = until(lambda: first_step(process.said) is not None) + rng.random() * times.start
        until(lambda: time.monotonic() >= moment or reported() > 0)
    else:
        moment = until(lambda: reported() >= _EVERY) + rng.random() * times.save
        until(lambda: time.monotonic() >= moment)
    return None


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

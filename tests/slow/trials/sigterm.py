"""A training that is asked to stop: how long it takes to save and end."""

import re
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import ROOT
from ddim_jax.runtime.errors import TRY_AGAIN
from tests.slow.trials.programs import (
    FaultRunFailed,
    Hangs,
    Program,
    checkpoints,
    first_step,
    last_step,
    newest_complete,
)

_STEPS, _EVERY = 100_000, 100
"""More steps than are trained before the last stop; steps from one checkpoint, with a validation, to the next."""
_KINDS = ("anywhere", "saving", "early")
"""Kinds of the stops in turn; the first measures what the others need to know."""
RULES = {
    "n": f"SIGTERM to train.py with configs/demo.py, train.steps={_STEPS} and train.checkpoint_every={_EVERY}; in turn "
    "at a moment uniform over the time from one checkpoint to the next, over that of a validation and a save, and over "
    "that from where the program says at which step it goes on to its first report, with nothing compiled before; the "
    "times are measured before the first stop",
    "before_first_step": "of these: no step of that start had been reported",
    "while_saving": "of these: a step was reported with which a checkpoint is due, and the checkpoint was not complete",
    "seconds": "from SIGTERM to the end of the program, the longest of `n`; one that does not end is killed",
    "unsaved": "stops after which the newest complete checkpoint was not that of the step that was said to be saved "
    "(or, before a first step, that it had begun from), "
    f"or the exit status was not {TRY_AGAIN}",
    "not_continued": "starts after a stop that did not go on from the step that was said to be saved",
}


def measure(
    workdir: Path,
    count: int,
    seed: int,
    say: Callable[[str], None],
    config: Path = ROOT / "configs" / "demo.py",
    every: int = _EVERY,
) -> dict[str, Any]:
    """Trains the network of the demo, asks it `count` times to stop at random moments and starts it again each time.

    The result is of fewer stops where the training does not go on after one.

    Args:
      workdir, count, seed, say: as for every part.
      config: of another network.
      every: steps from one checkpoint to the next, a multiple of 10.

    Raises:
      FaultRunFailed: the program ended before it was asked to for the first time.
    """
    rng, run = np.random.default_rng(seed), workdir / "run"
    seconds: list[float] = []
    unsaved = not_continued = before_first_step = while_saving = 0
    saved: int | None = 0
    times: dict[str, float] = {}
    for number in range(count + 1):  # the last start shows that it goes on, and is killed
        kind = _KINDS[number % len(_KINDS)]
        with _start(run, workdir, number, kind, config, every) as program:
            try:
                begun = _says_where(program)
                not_continued += number > 0 and begun != saved
                if number == count:
                    break
                times = times or _measured(program, run, every)
                _wait(program, kind, times[kind] * rng.random(), every)
            except FaultRunFailed as error:
                if number == 0:
                    raise
                not_continued += begun == saved  # or it is counted already
                say(f"the start after stop {number} failed: {error}")
                break
            reported, complete = last_step(program.said), newest_complete(checkpoints(run))
            asked = time.monotonic()
            program.process.send_signal(signal.SIGTERM)
            status = program.wait()
            seconds.append(time.monotonic() - asked)
            saved = saved_step(program.said)
        before_first_step += reported is None
        while_saving += reported is not None and reported % every == 0 and complete < reported
        unsaved += status != TRY_AGAIN or saved is None or saved != newest_complete(checkpoints(run))
        say(f"stop {number + 1} of {count}, {kind}: from step {begun} to {saved}, {seconds[-1]:.1f} s")
    return {
        "n": len(seconds),
        "before_first_step": before_first_step,
        "while_saving": while_saving,
        "seconds": round(max(seconds), 2),
        "median_seconds": round(statistics.median(seconds), 2),
        "unsaved": unsaved,
        "not_continued": not_continued,
        "period_s": round(times["anywhere"], 1),
        "rules": RULES,
    }


def _start(run: Path, workdir: Path, number: int, kind: str, config: Path, every: int) -> Program:
    """Starts the training; before an early stop, with an empty folder for what it compiles."""
    measures = number == 0 or kind == "early"
    fields = {"steps": _STEPS, "checkpoint_every": every, "log_every": 1 if measures else 10}
    given = ["--config", config, f"--workdir={run}"]
    given += [f"--config.train.{name}={value}" for name, value in fields.items()]
    own = {"XDG_CACHE_HOME": str(workdir / f"cold_{number:02}")} if kind == "early" else {}
    return Program(["train.py", *given], workdir / "logs" / f"stop_{number:02}.log", own)


def _says_where(program: Program) -> int | None:
    """The step from which it goes on, once it has said so; None where it ended or hung before."""
    try:
        program.wait_until(lambda: first_step(program.said) is not None)
    except Hangs:
        return None
    return first_step(program.said)


def _measured(program: Program, run: Path, every: int) -> dict[str, float]:
    """Seconds that each kind of moment is spread over, of a run that has nothing compiled, to its first checkpoint.

    early: from where it says at which step it goes on to the report of its first step; anywhere: from there to the
    first complete checkpoint; saving: from the report of that checkpoint's step until it is complete.
    """
    moments = [time.monotonic()]
    for condition in (
        lambda: last_step(program.said) is not None,
        lambda: last_step(program.said) >= every,
        lambda: newest_complete(checkpoints(run)) > 0,
    ):
        _until(program, condition)
        moments.append(time.monotonic())
    began, first, due, complete = moments
    return {"early": first - began, "anywhere": complete - first, "saving": complete - due}


def _wait(program: Program, kind: str, seconds: float, every: int) -> None:
    """Waits until `seconds` after where the moments of a kind begin."""

    def reported() -> int | None:
        return last_step(program.said)

    if kind == "early":
        moment = time.monotonic() + seconds
        _until(program, lambda: time.monotonic() >= moment or reported() is not None)
        return
    _until(program, lambda: reported() is not None and (kind != "saving" or reported() % every == 0))
    moment = time.monotonic() + seconds
    _until(program, lambda: time.monotonic() >= moment)


def _until(program: Program, condition: Callable[[], bool]) -> None:
    if not program.wait_until(condition) or program.process.poll() is not None:
        raise FaultRunFailed(f"the run was over before it was asked to stop: {program.last_words()}")


def saved_step(said: str) -> int | None:
    """The step that a training says to have saved, or not to have left, when it stopped; None where it has not."""
    found = re.search(r"(?:saved step|no step was made after step) (\d+), stopped", said)
    return int(found[1]) if found else None

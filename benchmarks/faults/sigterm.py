"""A training that is asked to stop: how long it takes to save and end."""

import re
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.faults.programs import ROOT, FaultRunFailed, Hangs, Program, first_step, last_step
from benchmarks.faults.weights import checkpoints, newest_complete

_STOPS = 10
_STEPS = 100_000
"""More than are trained before the last stop."""
_OVERRIDES = (f"--config.train.steps={_STEPS}", "--config.train.log_every=10")
_EARLY = 3
"""Every so many stops one comes before the first step."""
RULES = {
    "n": f"SIGTERM to train.py with configs/demo.py and {' '.join(_OVERRIDES)}; at a moment uniform over the time from "
    f"one checkpoint to the next, which is measured before the first stop; every {_EARLY}rd time uniform over the time "
    "from where the program says at which step it goes on to its first report",
    "seconds": "from SIGTERM to the end of the program, the longest of `n`; one that does not end is killed",
    "unsaved": "stops after which the newest complete checkpoint was not that of the step that was said to be saved, "
    "or the exit status was not 0",
    "not_continued": "starts after a stop that did not go on from the step that was said to be saved",
}


class _Times(NamedTuple):
    """Seconds from where a program says at which step it goes on to its first report, then to the first checkpoint."""

    first_report: float
    period: float


def measure(workdir: Path, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Trains the network of the demo, asks it to stop at random moments and starts it again each time.

    The result is of fewer stops where the training does not go on after one.

    Raises:
      FaultRunFailed: the program ended before it was asked to for the first time.
    """
    rng, run = np.random.default_rng(seed), workdir / "run"
    seconds: list[float] = []
    unsaved = not_continued = 0
    saved: int | None = 0
    times = None
    for number in range(_STOPS + 1):  # the last start shows that it goes on, and is killed
        log = workdir / "logs" / f"stop_{number:02}.log"
        given = ["--config", ROOT / "configs" / "demo.py", f"--workdir={run}", *_OVERRIDES]
        with Program(["train.py", *given], log) as program:
            try:
                begun = _says_where(program)
                not_continued += number > 0 and begun != saved
                if number == _STOPS:
                    break
                times = times or _measured(program, run)
                early = number % _EARLY == _EARLY - 1
                _wait(program, rng.random() * (times.first_report if early else times.period), early=early)
            except FaultRunFailed as error:
                if number == 0:
                    raise
                not_continued += begun == saved  # or it is counted already
                say(f"the start after stop {number} failed: {error}")
                break
            asked = time.monotonic()
            program.process.send_signal(signal.SIGTERM)
            status = program.wait()
            seconds.append(time.monotonic() - asked)
            saved = saved_step(program.said)
        unsaved += status != 0 or saved is None or saved != newest_complete(checkpoints(run))
        say(f"stop {number + 1} of {_STOPS}: from step {begun} to {saved}, {seconds[-1]:.1f} s")
    return {
        "n": len(seconds),
        "seconds": round(max(seconds), 2),
        "median_seconds": round(statistics.median(seconds), 2),
        "unsaved": unsaved,
        "not_continued": not_continued,
        "period_s": round(times.period, 1),
        "rules": RULES,
    }


def _says_where(program: Program) -> int | None:
    """The step from which it goes on, once it has said so; None where it ended or hung before."""
    try:
        program.wait_until(lambda: first_step(program.said) is not None)
    except Hangs:
        return None
    return first_step(program.said)


def _measured(program: Program, run: Path) -> _Times:
    """Waits for the first checkpoint of a run."""
    moments = [time.monotonic()]
    for condition in (lambda: last_step(program.said) is not None, lambda: newest_complete(checkpoints(run)) > 0):
        _until(program, condition)
        moments.append(time.monotonic())
    return _Times(moments[1] - moments[0], moments[2] - moments[1])


def _wait(program: Program, seconds: float, *, early: bool) -> None:
    """Waits from now, or from the first report."""
    if not early:
        _until(program, lambda: last_step(program.said) is not None)
    moment = time.monotonic() + seconds
    _until(program, lambda: time.monotonic() >= moment)


def _until(program: Program, condition: Callable[[], bool]) -> None:
    if not program.wait_until(condition) or program.process.poll() is not None:
        raise FaultRunFailed(f"the run was over before it was asked to stop: {program.last_words()}")


def saved_step(said: str) -> int | None:
    """The step that a training says to have saved when it stopped; None where it has not."""
    found = re.search(r"saved step (\d+), stopped", said)
    return int(found[1]) if found else None

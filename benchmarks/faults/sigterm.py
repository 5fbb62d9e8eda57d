"""A training that is asked to stop: how long it takes to save and end."""

import re
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.programs import ROOT, FaultRunFailed, Program, first_step, last_step
from benchmarks.faults.weights import checkpoints, newest_complete

_STOPS = 10
_STEPS = 100_000
"""More than are trained before the last stop."""
_LATEST_S = 5.0
RULES = {
    "seconds": "from SIGTERM to the end of train.py with configs/demo.py, the longest of `n`; the signal comes 0 to "
    f"{_LATEST_S:.0f} s after a step was reported",
    "unsaved": "stops after which the newest complete checkpoint was not that of the step that was said to be saved, "
    "or the exit status was not 0",
}


def measure(workdir: Path, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Trains the network of the demo, asks it to stop at random moments and starts it again each time.

    Raises:
      FaultRunFailed: the program ended before it was asked to.
    """
    rng, seconds, unsaved = np.random.default_rng(seed), [], 0
    run = workdir / "run"
    given = [f"--workdir={run}", f"--config.train.steps={_STEPS}", f"--config.train.checkpoint_every={_STEPS}"]
    given += ["--config.train.log_every=10"]
    for number in range(_STOPS):
        log = workdir / "logs" / f"stop_{number:02}.log"
        with Program(["train.py", "--config", ROOT / "configs" / "demo.py", *given], log) as program:
            program.wait_until(lambda program=program: last_step(program.said) is not None)
            moment = time.monotonic() + rng.random() * _LATEST_S
            if program.wait_until(lambda moment=moment: time.monotonic() >= moment) and program.process.poll() is None:
                asked = time.monotonic()
                program.process.send_signal(signal.SIGTERM)
                status = program.wait()
                seconds.append(time.monotonic() - asked)
            else:
                raise FaultRunFailed(f"the run was over before it was asked to stop: {program.last_words()}")
        unsaved += status != 0 or saved_step(program.said) != newest_complete(checkpoints(run))
        say(f"stop {number + 1} of {_STOPS}: from step {first_step(program.said)}, {seconds[-1]:.1f} s")
    return {
        "n": _STOPS,
        "seconds": round(max(seconds), 2),
        "median_seconds": round(statistics.median(seconds), 2),
        "unsaved": unsaved,
        "rules": RULES,
    }


def saved_step(said: str) -> int | None:
    """The step that a training says to have saved when it stopped; None where it has not."""
    found = re.search(r"saved step (\d+), stopped", said)
    return int(found[1]) if found else None

"""One training killed with SIGKILL again and again, at random moments, and started again each time."""

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.programs import FaultRunFailed, Program, first_step, last_step, start_training
from benchmarks.faults.weights import checkpoints, newest_complete, same_bits, template
from ddim_jax.checkpoints import CheckpointStore

EVERY = 2
"""Steps from one checkpoint to the next: so few that most of the time goes into saving."""
_IN_START_UP = 0.15
"""The share of the kills that are aimed at the start of the program."""
_REACH = 6
"""The other kills come after 0 to 5 more steps, and a part of the time from one checkpoint to the next."""
_STEPS_A_KILL, _SPARE_STEPS = 5, 12
RULES = {
    "kills": f"SIGKILL to train.py; {_IN_START_UP:.0%} at a moment uniform over the start of the program, the others "
    f"0 to {_REACH - 1} steps after resuming and a time uniform over one period of {EVERY} steps with their checkpoint",
    "lost_beyond_checkpoint": "restarts that resumed before the newest checkpoint that had ever had a manifest",
    "bitwise_equal": "weights, their average and the optimiser's state at the end, against a run that was left alone",
    "saves_in_flight": "kills that left a new step half written",
    "removals_in_flight": "kills that left an old step half removed",
    "starts_in_flight": "kills before the first step of that start was reported",
}


class Ledger:
    """What was complete at any time, and the restarts that went back behind it.

    Attributes:
      newest: the newest step that was ever complete.
      lost: restarts that resumed before it.
      checked: restarts that said where they resumed.
    """

    def __init__(self):
        self.newest = self.lost = self.checked = 0

    def killed(self, folder: Path) -> None:
        """Looks at the folder of checkpoints that a killed run leaves."""
        self.newest = max(self.newest, newest_complete(folder))

    def resumed(self, step: int) -> None:
        """The next run says that it goes on from `step`."""
        self.checked += 1
        if step < self.newest:
            self.lost += 1
            self.newest = step  # one loss counts once


def measure(workdir: Path, kills: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Trains twice, left alone and with `kills` kills, and compares.

    Raises:
      FaultRunFailed: a run ended with an error, or was over before the last kill.
    """
    steps = _STEPS_A_KILL * kills + _SPARE_STEPS
    fields = {"steps": steps, "checkpoint_every": EVERY}
    alone, killed, logs = workdir / "left_alone", workdir / "killed", workdir / "logs"
    for folder in (alone, killed):
        shutil.rmtree(folder, ignore_errors=True)
    with start_training(alone, logs / "left_alone.log", **fields) as program:
        program.finish()
    period_s = _period(checkpoints(alone))

    rng, ledger, counts = np.random.default_rng(seed), Ledger(), dict.fromkeys(("save", "removal", "start"), 0)
    start_up_s = None
    for number in range(kills):
        before = _unfinished(checkpoints(killed))
        with start_training(killed, logs / f"killed_{number:03}.log", **fields) as program:
            if start_up_s is not None and rng.random() < _IN_START_UP:
                moment = program.started + rng.random() * start_up_s
            else:
                more, part = int(rng.integers(_REACH)), rng.random()
                start_up_s = _wait_for_steps(program, more) or start_up_s
                moment = time.monotonic() + part * period_s
            program.wait_until(lambda moment=moment: time.monotonic() >= moment)
            if program.kill() != -signal.SIGKILL:
                raise FaultRunFailed(f"the run was over before kill {number + 1}: {program.last_words()}")
            said = program.said
        if first_step(said) is not None:
            ledger.resumed(first_step(said))
        if last_step(said) is None:
            counts["start"] += 1
        ledger.killed(checkpoints(killed))
        left = _unfinished(checkpoints(killed)) - before
        counts["save"] += any(step is None or step > ledger.newest for step, *_ in left)
        counts["removal"] += any(step is not None and step < ledger.newest for step, *_ in left)
        say(f"kill {number + 1} of {kills}: {ledger.newest} of {steps} steps kept, {ledger.lost} times lost")
    with start_training(killed, logs / "killed_last.log", **fields) as program:
        resumed = first_step(program.finish())
    if resumed is None:
        raise FaultRunFailed("the run was over when it was killed for the last time; it has too few steps")
    ledger.resumed(resumed)
    return {
        "n": kills,
        "lost_beyond_checkpoint": ledger.lost,
        "bitwise_equal": same_bits(*(_everything(run, steps) for run in (alone, killed))),
        "restarts_checked": ledger.checked,
        "saves_in_flight": counts["save"],
        "removals_in_flight": counts["removal"],
        "starts_in_flight": counts["start"],
        "steps": steps,
        "rules": RULES,
    }


def _wait_for_steps(program: Program, more: int) -> float | None:
    """Returns once the training has reported its first step and that many more: the seconds until the first.

    None if it ended before.
    """
    if not program.wait_until(lambda: last_step(program.said) is not None):
        return None
    seconds = time.monotonic() - program.started
    wanted = first_step(program.said) + 1 + more
    return seconds if program.wait_until(lambda: last_step(program.said) >= wanted) else None


def _period(folder: Path) -> float:
    """Seconds between the last two checkpoints."""
    times = sorted(path.stat().st_mtime for path in folder.glob("*/manifest.json"))
    return times[-1] - times[-2]


def _unfinished(folder: Path) -> set[tuple[int | None, int, int]]:
    """What is half written or half removed: (step, or None while Orbax still writes it; inode; time of change)."""
    found = set()
    for path in folder.iterdir() if folder.is_dir() else ():
        is_step = path.name.isdecimal()
        if (is_step and not (path / "manifest.json").exists()) or "tmp" in path.name:
            about = path.stat()
            found.add((int(path.name) if is_step else None, about.st_ino, about.st_mtime_ns))
    return found


def _everything(run: Path, step: int) -> Any:
    restored = CheckpointStore(checkpoints(run)).restore(template(run), step)
    return restored.state, restored.ema_params

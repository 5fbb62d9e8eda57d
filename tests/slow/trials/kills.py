"""One training killed with SIGKILL again and again, at random moments, and started again each time."""

import itertools
import shutil
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.slow.trials.programs import (
    FaultRunFailed,
    Hangs,
    Program,
    checkpoints,
    complete_steps,
    first_step,
    last_step,
    newest_complete,
    same_checkpoint,
    start_training,
)

EVERY = 2
"""Steps from one checkpoint to the next: so few that most of the time goes into saving."""
_IN_START_UP = 0.15
"""The share of the kills that are aimed at the start of the program."""
_IN_SAVE = 0.3
"""The share that is aimed at a save: once a step is seen half written, within `_SAVE_PART` of a period."""
_SAVE_PART = 0.1
_REACH = 6
"""The other kills come after 0 to 5 more steps, and a part of the time from one checkpoint to the next."""
_STEPS_A_KILL, _SPARE_STEPS = 5, 12
_KEPT = 6
"""Checkpoints that the run left alone keeps, for the time from one to the next."""
_WHOLE_RUN_S = 3600.0
RULES = {
    "kills": f"SIGKILL to train.py; {_IN_START_UP:.0%} at a moment uniform over the start of the program, the others "
    f"0 to {_REACH - 1} steps after resuming and a time uniform over a period of {EVERY} steps with their checkpoint; "
    f"{_IN_SAVE:.0%} of all instead where the next save is seen to begin, and up to {_SAVE_PART:.0%} of a period later",
    "failed_restarts": "starts after a kill that ended by themselves with another status than 0, or hung; the part "
    "stops at the first",
    "lost_beyond_checkpoint": "restarts that resumed before the newest checkpoint that had ever had a manifest, or "
    "that a later step of the training proves",
    "bitwise_equal": "weights, their average and the optimiser's state at the end, against a run that was left alone; "
    "no where the end was not reached",
    "saves_in_flight": "kills that left a new step half written",
    "removals_in_flight": "kills that left an old step half removed",
    "starts_in_flight": "kills before the first step of that start was reported",
}


class Ledger:
    """The checkpoints that were complete at any time, and the restarts that went back behind it.

    Attributes:
      newest: the newest step that was ever complete.
      lost: restarts that resumed before it.
      checked: restarts that said where they resumed.
    """

    def __init__(self):
        self.newest = self.lost = self.checked = 0
        self._there: set[tuple[int, int]] = set()
        self._given_up: set[tuple[int, int]] = set()

    def killed(self, folder: Path, reported: int | None = None) -> None:
        """Looks at the folder of checkpoints that a killed run leaves; `reported` is the last step it told of.

        Training waits until a checkpoint is saved: a later step proves that it was complete, even if it is gone now.
        """
        self._there = set(complete_steps(folder).items()) - self._given_up
        self.newest = max([self.newest, EVERY * (((reported or 1) - 1) // EVERY), *(step for step, _ in self._there)])

    def resumed(self, step: int) -> None:
        """The next run says that it goes on from `step`."""
        self.checked += 1
        if step < self.newest:
            self.lost += 1
            # One loss counts once, even where the checkpoint that was passed over still lies there.
            self._given_up |= {one for one in self._there if one[0] > step}
            self.newest = step


class _RestartFailed(Exception):
    """A start after a kill did not go on; the message says how it ended."""


def measure(workdir: Path, count: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Trains twice, left alone and with `count` kills, and compares.

    The result is of fewer kills where the training is nearly over before, or does not go on after one.

    Raises:
      FaultRunFailed: a run ended with an error before the first kill, or was over.
    """
    steps = _STEPS_A_KILL * count + _SPARE_STEPS
    steps += -steps % EVERY
    fields = {"steps": steps, "checkpoint_every": EVERY}
    alone, killed, logs = workdir / "left_alone", workdir / "killed", workdir / "logs"
    for folder in (alone, killed):
        shutil.rmtree(folder, ignore_errors=True)
    with start_training(alone, logs / "left_alone.log", **fields, keep_latest=_KEPT) as program:
        program.finish(_WHOLE_RUN_S)
    period_s = _period(checkpoints(alone))

    rng, ledger, counts = np.random.default_rng(seed), Ledger(), dict.fromkeys(("save", "removal", "start"), 0)
    done = failed = 0
    start_up_s: float | None = None
    try:
        while done < count and ledger.newest + _REACH + EVERY < steps:
            before = _unfinished(checkpoints(killed))
            with start_training(killed, logs / f"killed_{done:03}.log", **fields) as program:
                start_up_s, was_killed = _kill(program, checkpoints(killed), rng, start_up_s, period_s)
                said = program.said
            if first_step(said) is not None:
                ledger.resumed(first_step(said))
            ledger.killed(checkpoints(killed), last_step(said))
            if not was_killed:
                break
            done += 1
            counts["start"] += last_step(said) is None
            left = _unfinished(checkpoints(killed)) - before
            counts["save"] += any(step is None or step > ledger.newest for step, *_ in left)
            counts["removal"] += any(step is not None and step < ledger.newest for step, *_ in left)
            say(f"kill {done} of {count}: {ledger.newest} of {steps} steps kept, {ledger.lost} times lost")
        if not done:
            raise FaultRunFailed(f"the run was over before kill 1: {program.last_words()}")
        if done < count:
            say(f"the run was nearly over after {done} of {count} kills")
        with start_training(killed, logs / "killed_last.log", **fields) as program:
            said = _finish(program)
        if first_step(said) is not None:
            ledger.resumed(first_step(said))
    except _RestartFailed as error:
        if not done:
            raise FaultRunFailed(f"the first start failed: {error}") from error
        failed = 1
        say(f"the start after kill {done} failed: {error}")
    return {
        "n": done,
        "failed_restarts": failed,
        "lost_beyond_checkpoint": ledger.lost,
        "bitwise_equal": not failed and same_checkpoint(alone, killed, steps),
        "restarts_checked": ledger.checked,
        "saves_in_flight": counts["save"],
        "removals_in_flight": counts["removal"],
        "starts_in_flight": counts["start"],
        "steps": steps,
        "rules": RULES,
    }


def _kill(
    program: Program, folder: Path, rng: np.random.Generator, start_up_s: float | None, period_s: float
) -> tuple[float | None, bool]:
    """Kills at a random moment: (seconds from a start to the first step, as far as known; whether it still ran).

    Raises:
      _RestartFailed: the program ended with an error, or hung.
    """
    try:
        aim, part = rng.random(), rng.random()
        if start_up_s is not None and aim < _IN_START_UP:
            moment = program.started + part * start_up_s
        else:
            start_up_s = _wait_for_steps(program, int(rng.integers(_REACH))) or start_up_s
            if aim < _IN_START_UP + _IN_SAVE:
                before = _unfinished(folder)
                program.wait_until(lambda: bool(_new_halves(folder, before)))
                part *= _SAVE_PART
            moment = time.monotonic() + part * period_s
        program.wait_until(lambda: time.monotonic() >= moment)
    except Hangs as error:
        raise _RestartFailed(str(error)) from error
    status = program.kill()
    if status not in (0, -signal.SIGKILL):
        raise _RestartFailed(f"status {status}: {program.last_words()}")
    return start_up_s, status != 0


def _finish(program: Program) -> str:
    try:
        return program.finish(_WHOLE_RUN_S)
    except FaultRunFailed as error:
        raise _RestartFailed(str(error)) from error


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
    """Seconds from one checkpoint to the next, the median of those that are there."""
    found = sorted(complete_steps(folder).items())
    between = [(after - before) / 1e9 for (_, before), (_, after) in itertools.pairwise(found)]
    return statistics.median(between)


def _new_halves(folder: Path, before: set[tuple[int | None, int, int]]) -> list[int | None]:
    """The steps half written in what is unfinished now and was not `before`: no step whose removal has begun."""
    newest = newest_complete(folder)
    return [step for step, *_ in _unfinished(folder) - before if step is None or step > newest]


def _unfinished(folder: Path) -> set[tuple[int | None, int, int]]:
    """Folders half written or half removed: (step, or None while Orbax still writes it; inode; time of change)."""
    found = set()
    for path in folder.iterdir() if folder.is_dir() else ():
        is_step = path.name.isdecimal()
        if (is_step and not (path / "manifest.json").exists()) or "tmp" in path.name:
            try:
                about = path.stat()
            except FileNotFoundError:  # it is given its name, or removed, while this looks
                continue
            found.add((int(path.name) if is_step else None, about.st_ino, about.st_mtime_ns))
    return found

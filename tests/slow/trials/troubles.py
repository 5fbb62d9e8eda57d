"""One training killed again and again, its checkpoints on a disk that vanishes, behind links, its process suspended."""

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ddim_jax.checkpoints.manifest import MANIFEST, find_damage
from tests.slow.trials.kills import EVERY, Ledger
from tests.slow.trials.programs import (
    FaultRunFailed,
    Hangs,
    Program,
    checkpoints,
    complete_steps,
    first_step,
    last_step,
    same_checkpoint,
    start_training,
)

_STEPS_A_KILL, _SPARE_STEPS = 4, 12
_REACH = 4
"""A trouble begins 0 to 3 steps after a start said where it goes on, and up to `_WITHIN_S` later."""
_WITHIN_S = 0.5
_SUSPENDED_S = 2.0
_ENDS_S = 300.0
_WHOLE_RUN_S = 3600.0
KINDS = ("killed", "suspended", "vanished", "moved", "archived")
RULES = {
    "n": "starts of train.py whose checkpoints/ is a link to another folder, each ended in turn by one of: SIGKILL; "
    "SIGKILL after an older step was replaced by a link to an archive; SIGSTOP for up to "
    f"{_SUSPENDED_S:.0f} s, then SIGCONT and SIGKILL, or SIGKILL while it is stopped; the folder behind checkpoints/ "
    "renamed; the folder of the run renamed. What was renamed is given its name back before the next start",
    "unclear": "after a rename the program did not end by itself with status 2 and one line that names the folder, or "
    "a start while the folder was away did not, or it changed a file; or there was a traceback "
    "without a rename (threads of Orbax print some where their folder goes away during a save)",
    "failed_restarts": "starts that ended by themselves with another status than 0 although all was in its place",
    "lost_beyond_checkpoint": "as in the part kills",
    "archives_harmed": "archived steps that are not as they were",
}


class _Failed(Exception):
    """A start did not go on as it should; the message says how it ended."""


def measure(workdir: Path, count: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Trains twice, left alone and with `count` troubles, and compares.

    Raises:
      FaultRunFailed: the run that is left alone ends with an error.
    """
    steps = _STEPS_A_KILL * count + _SPARE_STEPS
    steps += -steps % EVERY
    fields = {"steps": steps, "checkpoint_every": EVERY}
    alone, run, disk, archive, logs = (workdir / name for name in ("left_alone", "run", "disk", "archive", "logs"))
    for folder in (alone, run, disk, archive):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    with start_training(alone, logs / "left_alone.log", **fields) as program:
        program.finish(_WHOLE_RUN_S)
    checkpoints(run).symlink_to(disk)

    rng, ledger = np.random.default_rng(seed), Ledger()
    counts, unclear, failed, done = dict.fromkeys(KINDS, 0), [], [], 0
    try:
        while done < count and ledger.newest + _REACH + EVERY < steps:
            kind = KINDS[done % len(KINDS)]
            if kind == "archived":
                counts[kind] += _archive_one(disk, archive, done)
            else:
                counts[kind] += 1
            with start_training(run, logs / f"{done:03}_{kind}.log", **fields) as program:
                _wait(program, int(rng.integers(_REACH)), float(rng.random()) * _WITHIN_S)
                if kind in ("vanished", "moved"):
                    folder = disk if kind == "vanished" else run
                    unclear += _taken_away(
                        folder, program, lambda name: start_training(run, logs / name, **fields), done
                    )
                else:
                    _kill(program, rng if kind == "suspended" else None)
                said = program.said
            if first_step(said) is not None:
                ledger.resumed(first_step(said))
            ledger.killed(disk, last_step(said))
            if kind not in ("vanished", "moved") and "Traceback (most recent call last)" in said:
                unclear.append(f"{done:03}_{kind}: a traceback")
            done += 1
            say(f"{kind}, {done} of {count}: {ledger.newest} of {steps} steps kept, {ledger.lost} times lost")
        with start_training(run, logs / "last.log", **fields) as program:
            said = program.finish(_WHOLE_RUN_S)
        ledger.resumed(first_step(said))
    except (_Failed, FaultRunFailed) as error:
        failed.append(f"after {done}: {error}")
        say(failed[-1])
    return {
        "n": done,
        **counts,
        "unclear": len(unclear),
        "failed_restarts": len(failed),
        "lost_beyond_checkpoint": ledger.lost,
        "archives_harmed": sum(bool(find_damage(step)) for step in archive.iterdir()),
        "bitwise_equal": not failed and same_checkpoint(alone, run, steps),
        "offenders": {"unclear": unclear, "failed": failed},
        "steps": steps,
        "rules": RULES,
    }


def _wait(program: Program, more: int, seconds: float) -> None:
    """Returns once the training has reported `more` steps after its first, and that many seconds later.

    Raises:
      _Failed: it ended before.
    """

    def is_far() -> bool:
        at = last_step(program.said)
        return at is not None and at >= first_step(program.said) + 1 + more

    if not program.wait_until(is_far):
        raise _Failed(program.last_words())
    time.sleep(seconds)


def _kill(program: Program, rng: np.random.Generator | None) -> None:
    """SIGKILL; with `rng` after the program was suspended, or while it is."""
    if rng is not None:
        program.process.send_signal(signal.SIGSTOP)
        time.sleep(float(rng.random()) * _SUSPENDED_S)
        if rng.random() < 0.5:
            program.process.send_signal(signal.SIGCONT)
            time.sleep(float(rng.random()))
    status = program.kill()
    if status not in (0, -signal.SIGKILL):
        raise _Failed(f"status {status}: {program.last_words()}")


def _taken_away(folder: Path, program: Program, again: Callable[[str], Program], number: int) -> list[str]:
    """Renames `folder` while the program runs, and gives its name back: what was not said clearly then.

    Where the disk of the checkpoints is away, the training is started once more: it has to refuse and to write nothing.
    """
    away = folder.with_name(f"{folder.name}.away")
    folder.rename(away)
    unclear = []
    try:
        status = program.wait(_ENDS_S)
        unclear += _judged(f"{number:03}", status, program.said, folder)
        if folder.name == "disk":
            run = folder.with_name("run")
            before = _content(run)
            with again(f"{number:03}_while_away.log") as other:
                unclear += _judged(f"{number:03} started while away", other.wait(_ENDS_S), other.said, folder)
            if _content(run) != before:
                unclear.append(f"{number:03}: a start while the disk was away changed the run")
    except Hangs as error:
        unclear.append(f"{number:03}: {error}")
    finally:
        if folder.exists():  # by threads of Orbax that write on by path; nothing of it is a checkpoint
            if list(folder.rglob(MANIFEST)):
                unclear.append(f"{number:03}: {folder.name} was made anew")
            shutil.rmtree(folder)
        away.rename(folder)
    return unclear


def _judged(name: str, status: int | None, said: str, folder: Path) -> list[str]:
    lines = [line for line in said.splitlines() if line.startswith("error: ") and str(folder) in line]
    if status == 0 and last_step(said) is not None:
        return []  # it was at its end
    if status == 2 and len(lines) == 1:
        return []
    return [f"{name}: status {status}, {len(lines)} lines of error that name the folder: {said.splitlines()[-2:]}"]


def _archive_one(disk: Path, archive: Path, number: int) -> bool:
    """Moves a step that is complete, is not the newest and is no link yet, and leaves a link to it."""
    older = [step for step in sorted(complete_steps(disk))[:-1] if not (disk / str(step)).is_symlink()]
    for step in older[:1]:
        kept = archive / f"{number:03}_{step}"
        (disk / str(step)).rename(kept)
        (disk / str(step)).symlink_to(kept)
    return bool(older)


def _content(run: Path) -> dict[str, bytes | None]:
    """The files of a run, but for those behind its link to the checkpoints."""
    return {str(path): path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}

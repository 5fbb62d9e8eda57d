"""Bytes changed and files cut short in a folder of checkpoints, one at a time: is each noticed, and told by name?"""

import contextlib
import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.runtime.errors import CheckpointError
from tests.slow.trials.programs import FaultRunFailed, checkpoints, same_bits, template, trained

_SAY_EVERY = 100
RULES = {
    "damage": "one at a time, undone before the next: a file drawn from those of a step with equal chances, then a "
    "position in it with equal chances; a flip changes one to eight bits of that byte, a truncation keeps what is "
    "before it",
    "read": "each time by a call that has to read that file: restore or restore_params of it by number, or of the "
    "newest or best where it is that",
    "named": "the error, or the warning before another step was used, has the file's path; where another step was "
    "used, it is the newest intact one, or the next best where the best was asked for, and all of it is as it was "
    "written, to the bit",
    "silent": "everything else",
}


class Call(NamedTuple):
    """One way to read a checkpoint.

    Attributes:
      read: of the store.
      reads_state: whether the training state comes too.
      instead: the step to be used where the one that has to be read is damaged; None where that is an error.
    """

    read: Callable[[CheckpointStore], Any]
    reads_state: bool
    instead: int | None = None


class Originals:
    """The content of a folder of checkpoints before anything is done to it.

    Args:
      run: a training run.
    """

    def __init__(self, run: Path):
        self.store = CheckpointStore(checkpoints(run))
        self.template = template(run)
        self.steps = self.store.steps()
        self.ranking = sorted(self.steps, key=lambda step: (_dice(checkpoints(run) / str(step)), step))
        self._content = {step: self.store.restore(self.template, step) for step in self.steps}
        if len(self.steps) < 2:
            raise FaultRunFailed(f"{checkpoints(run)}: {len(self.steps)} steps; several are needed to fall back")

    def calls(self, step: int) -> list[Call]:
        """The calls that have to read `step`."""
        found = [
            Call(lambda store: store.restore(self.template, step), True),
            Call(lambda store: store.restore_params(step), False),
        ]
        if step == self.steps[-1]:
            found += [
                Call(lambda store: store.restore(self.template), True, self.steps[-2]),
                Call(lambda store: store.restore_params("latest"), False, self.steps[-2]),
            ]
        if step == self.ranking[-1]:
            found.append(Call(lambda store: store.restore_params("best"), False, self.ranking[-2]))
        return found

    def equal(self, call: Call, result: Any) -> bool:
        """Returns True if `call` gave what that step held."""
        expected = self._content.get(result[0])
        if expected is None:
            return False
        whole = tuple(expected) if call.reads_state else (expected.step, expected.ema_params, expected.metadata)
        return same_bits(tuple(result)[: len(whole)], whole)  # without the digest of the weights


def is_named(originals: Originals, call: Call, damaged: Path) -> tuple[bool, bool]:
    """(Whether the damage of one file is told by name and nothing wrong is given; whether another step was used)."""
    folder = originals.store.directory / damaged.relative_to(originals.store.directory).parts[0]
    words = (f"{folder} is damaged", f" {damaged.relative_to(folder).as_posix()}: ")
    with _warnings() as told:
        try:
            result = call.read(CheckpointStore(originals.store.directory))  # a new one, as after a restart
        except CheckpointError as error:
            return all(word in str(error) for word in words), False
        except Exception:
            return False, False  # whatever it says, it was not understood
    named = all(word in "\n".join(told) for word in words)
    good = named and result[0] == call.instead and originals.equal(call, result)
    return good, good


def measure(workdir: Path, kind: str, count: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Does `kind` ("flips" or "truncations") `count` times to a trained run.

    Raises:
      FaultRunFailed: there is nothing to damage.
    """
    run = workdir / "damaged"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(trained(workdir), run)
    return damage(kind, run, count, seed, say)


def damage(kind: str, run: Path, count: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Does what `measure` does to a run that is there."""
    rng, originals = np.random.default_rng(seed), Originals(run)
    named = fallen_back = 0
    silent: list[str] = []
    for number in range(count):
        step = originals.steps[rng.integers(len(originals.steps))]
        files = sorted(
            path
            for path in (originals.store.directory / str(step)).rglob("*")
            if path.is_file() and path.stat().st_size
        )
        path = files[rng.integers(len(files))]
        content = path.read_bytes()
        at = int(rng.integers(len(content)))
        changed = content[:at]
        if kind == "flips":
            changed += bytes([content[at] ^ int(rng.integers(1, 256))]) + content[at + 1 :]
        in_state = "state" in path.relative_to(originals.store.directory).parts
        calls = [call for call in originals.calls(step) if call.reads_state or not in_state]
        path.write_bytes(changed)
        was_named, used_another = is_named(originals, calls[rng.integers(len(calls))], path)
        path.write_bytes(content)
        named += was_named
        fallen_back += used_another
        if not was_named:
            silent.append(f"{path.relative_to(originals.store.directory).as_posix()}, byte {at}")
            say(f"silent: {path}, byte {at}")
        if (number + 1) % _SAY_EVERY == 0:
            say(f"{number + 1} of {count}: {number + 1 - named} silent")
    if Originals(run).steps != originals.steps:
        raise FaultRunFailed(f"{run}: the damage was not undone")
    return {
        "n": count,
        "silent": count - named,
        "named": named,
        "fell_back": fallen_back,
        "steps": originals.steps,
        "offenders": {"silent": silent},
        "rules": RULES,
    }


def _dice(folder: Path) -> float:
    """The score of a step, read from its file: what the store makes of it does not come in."""
    path = folder / "metrics" / "metrics"
    return json.loads(path.read_text(encoding="utf-8"))["dice"] if path.exists() else -math.inf


@contextlib.contextmanager
def _warnings() -> Iterator[list[str]]:
    """The records that the block logs, which are not shown."""
    told: list[str] = []
    log = logging.getLogger("absl")

    def keep(record: logging.LogRecord) -> bool:
        told.append(record.getMessage())
        return False

    log.addFilter(keep)
    try:
        yield told
    finally:
        log.removeFilter(keep)

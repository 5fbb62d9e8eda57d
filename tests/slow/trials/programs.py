"""Programs in processes of their own, to which something is done while they run, and the checkpoints they leave."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.children import dying_with_this
from benchmarks.machine import ROOT
from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.models import create_model
from ddim_jax.training.optimiser import create_optimiser
from ddim_jax.training.state import create_state
from tests.slow.trials.warm import Programs

CONFIG = Path(__file__).with_name("tiny_config.py")
_POLL_S = 0.003
WARM: Programs | None = None
"""Starts the programs of a short trial, which share their imports; where it is None, the interpreter does."""
LIMIT_S = 900.0
"""Seconds after which a program hangs, whatever it says on the way."""


class FaultRunFailed(RuntimeError):
    """A trial that could not be made; the message says why."""


class Hangs(FaultRunFailed):
    """A program does not come to what was waited for, and does not end."""


class Program:
    """A program of this project, started on the CPU; as a context manager it is killed where it still runs.

    Where this process ends without that, the program is killed as well.

    Args:
      arguments: the program's file in the project, and what it is given.
      log: where all that it says goes.
      environment: variables besides those of this process.
    """

    def __init__(self, arguments: Sequence[str | os.PathLike], log: Path, environment: Mapping[str, str] | None = None):
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        program, *given = arguments
        with open(log, "w", encoding="utf-8") as file:
            variables = {**os.environ, "JAX_PLATFORMS": "cpu", **(environment or {})}
            if WARM is not None:
                self.process = WARM.start(arguments, Path.cwd(), log, environment=variables)
            else:
                self.process = subprocess.Popen(
                    dying_with_this([sys.executable, str(ROOT / program), *map(str, given)]),
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=variables,
                )
        self.started = time.monotonic()

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: Any) -> None:
        self.kill()

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_until(self, condition: Callable[[], bool], limit_s: float = LIMIT_S) -> bool:
        """Looks every few milliseconds; False where the program ended before the condition held.

        Raises:
          Hangs: neither came within `limit_s`.
        """
        latest = time.monotonic() + limit_s
        while not condition():
            if self.process.poll() is not None:
                return condition()
            if time.monotonic() > latest:
                raise Hangs(f"a program hangs for {limit_s:.0f} s: {self.last_words()}")
            time.sleep(_POLL_S)
        return True

    def kill(self) -> int:
        """SIGKILL, where it still runs; the exit status."""
        self.process.kill()
        return self.process.wait()

    def wait(self, limit_s: float = LIMIT_S) -> int | None:
        """The exit status once the program has ended by itself; None where it did not in time: it is killed then."""
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def finish(self, limit_s: float = LIMIT_S) -> str:
        """Waits until the program has done all its work; what it said.

        Raises:
          FaultRunFailed: it ended with another status than 0, or not in time.
        """
        status = self.wait(limit_s)
        if status is None:
            raise Hangs(f"a program hangs for {limit_s:.0f} s: {self.last_words()}")
        if status:
            raise FaultRunFailed(f"status {status}: {self.last_words()}")
        return self.said

    def last_words(self) -> str:
        """The end of what it said, on one line."""
        return f"{' / '.join(self.said.strip().splitlines()[-3:])} (all of it in {self.log})"


def start_training(workdir: Path, log: Path, *more: str, **fields: Any) -> Program:
    """train.py with the tiny config; `fields` are of its section train, `more` are other arguments."""
    given = [f"--config.train.{name}={value}" for name, value in fields.items()]
    return Program(["train.py", "--config", CONFIG, "--workdir", workdir, *given, *more], log)


def trained(workdir: Path) -> Path:
    """A finished run of the tiny config in `workdir`/trained: steps 3, 6, 9 and 12, of which some are kept."""
    run = workdir / "trained"
    with start_training(run, workdir / "logs" / "trained.log") as program:
        program.finish()
    return run


def first_step(said: str) -> int | None:
    """The step from which a training says that it starts or resumes; None where it has not said so yet."""
    found = re.search(r"(?:starts|resumes) at step (\d+) of \d+", said)
    return int(found[1]) if found else None


def last_step(said: str) -> int | None:
    """The last step that a training has reported; None before the first."""
    found = re.findall(r"^step (\d+)/\d+: ", said, re.MULTILINE)
    return int(found[-1]) if found else None


def checkpoints(run: Path) -> Path:
    """The folder of the checkpoints of a run."""
    return run / "checkpoints"


def newest_complete(folder: Path) -> int:
    """The newest step in a folder of checkpoints that has a manifest, which is written last; 0 where there is none.

    Looked up in the files: what the package under test thinks of them does not come in.
    """
    return max(complete_steps(folder), default=0)


def complete_steps(folder: Path) -> dict[int, int]:
    """The steps in a folder of checkpoints that have a manifest, with the time at which it was written, in ns."""
    manifests = [path for path in folder.glob("*/manifest.json") if path.parent.name.isdecimal()]
    return {int(path.parent.name): path.stat().st_mtime_ns for path in manifests}


def template(run: Path) -> dict[str, Any]:
    """The shapes of the training state that the checkpoints of a run hold, from its config.json."""
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    about, fields = config["model"], config["train"]
    model = create_model(about["name"], preset=about["preset"], **about["overrides"])
    optimiser = create_optimiser(lambda step: 1.0, gradient_clip=fields["gradient_clip"])
    fresh = jax.eval_shape(lambda: create_state(model, optimiser, config["data"]["image_size"], 0))
    return {"step": fresh.step, "params": fresh.params, "opt_state": fresh.opt_state}


def same_bits(one: Any, other: Any) -> bool:
    """Returns True if two pytrees have the same structure and the same numbers, to the bit."""
    if jax.tree.structure(one) != jax.tree.structure(other):
        return False
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(_bits(a) == _bits(b) for a, b in pairs)


def _bits(leaf: Any) -> tuple[Any, ...]:
    values = np.asarray(leaf)
    return values.dtype, values.shape, values.tobytes()


def same_checkpoint(run: Path, other: Path, step: int) -> bool:
    """Returns True if a step of two runs is intact in both and holds the same training state and average, to the bit.

    What cannot be read is not the same, whatever the error: a damaged checkpoint is a finding.
    """
    try:
        found = [CheckpointStore(checkpoints(one)).restore(template(other), step) for one in (run, other)]
    except Exception:
        return False
    return same_bits(*((restored.state, restored.ema_params) for restored in found))

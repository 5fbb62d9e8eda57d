"""train.py and sample.py in processes of their own, to which something is done while they run."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.children import dying_with_this

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "benchmarks" / "faults" / "tiny_config.py"
_POLL_S = 0.003
LIMIT_S = 900.0
"""Seconds after which a program hangs, whatever it says on the way."""


class FaultRunFailed(RuntimeError):
    """What was to be measured could not be; the message says why."""


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
            self.process = subprocess.Popen(
                dying_with_this([sys.executable, str(ROOT / program), *map(str, given)]),
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "JAX_PLATFORMS": "cpu", **(environment or {})},
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

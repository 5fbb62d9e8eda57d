"""Readers given damaged inputs for a while: each has to read them or to refuse them with an error for the user.

A seeded loop of mutations, not guided by coverage: execution i is a function of (seed, i). `measure` runs it in
processes of its own (python -m tests.slow.trials.fuzz), so that an input that brings a decoder down is a finding and
not the end.
"""

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.children import dying_with_this
from benchmarks.machine import ROOT
from benchmarks.memory import high_water_bytes, reset_high_water, resident_bytes
from ddim_jax.runtime.errors import InputError
from tests.slow.trials.programs import FaultRunFailed
from tests.slow.trials.readers import Reader, all_readers

TOOL = "seeded loop of mutations (tests/slow/trials/fuzz.py)"
_COUNTS = ("executions", "read", "refused", "unexpected")
_MOST_SECONDS, _PATIENCE = 20.0, 10
"""Seconds of the processor, so that a busy machine is no finding; so many times as many by the clock are one."""
_MOST_BYTES, _ADDRESS_SPACE = 2**30, 6 * 2**30
"""Bytes that become resident; and beyond what the process has when the loop begins, where a MemoryError comes."""
_HANGS_S = 300.0
"""A decoder in C never comes back to Python's signal handler: its process is killed."""


class _TooLong(BaseException):
    """No `Exception`: what a reader catches must not stop it."""


def measure(workdir: Path, *, seconds: float, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Fuzzes every reader for `seconds` and keeps what went wrong in `workdir`/unexpected.

    Returns:
      executions, unexpected (of them, those that ended in anything but success or an `InputError`, took too long or too
      much memory), read and refused; readers, the same counts of each; one_sided, the readers that read nothing or
      refused nothing; seconds, tool, what was longest and largest, and offenders, the unexpected ones by name (reader,
      seed, number) with the last line of why.

    Raises:
      FaultRunFailed: the fuzzing itself does not work.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    progress, offenders, readers = workdir / "progress.json", {}, {}
    longest, largest, spent, number = 0.0, 0, 0.0, 0
    while spent < seconds:
        progress.unlink(missing_ok=True)
        given = [str(workdir), str(seed), str(number), str(seconds - spent)]
        with open(workdir / "said.txt", "w") as said:  # decoders in C write a line on nearly every file
            command = dying_with_this([sys.executable, "-m", "tests.slow.trials.fuzz", *given])
            status = _watch(subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=said, cwd=ROOT), progress)
        if (status or 0) > 0 or not progress.exists():
            raise FaultRunFailed(f"the fuzzing itself failed, see {workdir / 'said.txt'}")
        told = json.loads(progress.read_text())
        for name, counts in told["readers"].items():
            readers.setdefault(name, Counter(dict.fromkeys(_COUNTS, 0))).update(counts)
        longest, largest = max(longest, told["longest_seconds"]), max(largest, told["largest_bytes"])
        offenders |= told["offenders"]
        spent, number = spent + told["seconds"], told["number"]
        if status != 0:
            current, file = told["current"], Path(told["file"])
            spent, number = spent + max(0.0, time.time() - progress.stat().st_mtime), number + 1
            readers[current.rsplit("-", 2)[0]].update(executions=1, unexpected=1)
            why = f"killed after {_HANGS_S:.0f} s" if status is None else f"the process was ended by signal {-status}"
            content = file.read_bytes() if file.exists() else b""  # the reader may have taken it away
            offenders[current] = _keep(workdir, current, file.name, content, why)
            say(f"an input brought the process down, kept in {workdir}/unexpected/{current}")
    total = {kind: sum(counts[kind] for counts in readers.values()) for kind in _COUNTS}
    return {
        **total,
        "one_sided": sum(not counts["read"] or not counts["refused"] for counts in readers.values()),
        "readers": {name: dict(counts) for name, counts in readers.items()},
        "seconds": round(spent, 1),
        "tool": TOOL,
        "longest_seconds": round(longest, 3),
        "largest_bytes": largest,
        "offenders": offenders,
    }


def _watch(worker: subprocess.Popen, progress: Path) -> int | None:
    """The exit status of a worker; None where it was at one execution for too long, and was killed."""
    seen, since = "", time.monotonic()
    try:
        while time.monotonic() - since < _HANGS_S:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return worker.wait(0.2)
            current = json.loads(progress.read_text())["current"] if progress.exists() else ""
            if current != seen:
                seen, since = current, time.monotonic()
        return None
    finally:
        worker.kill()
        worker.wait()


def campaign(
    readers: Mapping[str, Reader],
    workdir: Path,
    *,
    seed: int,
    seconds: float = float("inf"),
    executions: int | None = None,
    first: int = 0,
    report: Callable[[dict[str, Any]], None] = lambda told: None,
) -> dict[str, Any]:
    """The loop, in this process, until the time is over or the executions are done; the readers take turns.

    Returns:
      readers (of each, the counts executions, read, refused, unexpected), number of the next execution, seconds,
      longest_seconds, largest_bytes, offenders.
    """
    counts = {name: Counter(dict.fromkeys(_COUNTS, 0)) for name in readers}
    told: dict[str, Any] = {"readers": counts, "longest_seconds": 0.0, "largest_bytes": 0, "offenders": {}}
    began, number = time.monotonic(), first
    while time.monotonic() - began < seconds and (executions is None or number - first < executions):
        name = list(readers)[number % len(readers)]
        path, content = _damaged(readers[name], workdir / "try", np.random.default_rng([seed, number]))
        current = f"{name}-{seed}-{number}"
        told.update(number=number, current=current, file=str(path), seconds=time.monotonic() - began)
        report(told)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, on nearly every file
            outcome, why, took, size = _execution(readers[name].read, path)
        counts[name].update(["executions", outcome])
        told["longest_seconds"] = max(told["longest_seconds"], took)
        told["largest_bytes"] = max(told["largest_bytes"], size)
        if outcome == "unexpected":
            told["offenders"][current] = _keep(workdir, current, path.name, content, why)
        number += 1
    told.update(number=number, seconds=time.monotonic() - began)
    report(told)
    return told


def _damaged(reader: Reader, folder: Path, rng: np.random.Generator) -> tuple[Path, bytes]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    content, other = (reader.seeds[rng.integers(0, len(reader.seeds))] for _ in range(2))
    path, content = folder / reader.file, reader.damage(content, other, rng)
    path.write_bytes(content)
    return path, content


def _execution(read: Callable[[Path], object], path: Path) -> tuple[str, str, float, int]:
    """(read, refused or unexpected; why it is unexpected; seconds; bytes that became resident)."""
    Path("/proc/self/clear_refs").write_text("5")  # without giving memory back, which takes milliseconds
    before, began = resident_bytes(), time.process_time()
    outcome, why = "read", ""
    try:
        with _alarm(_PATIENCE * _MOST_SECONDS):
            read(path)
    except InputError as error:
        outcome = "refused"
        if isinstance(error.__cause__, MemoryError):
            outcome, why = "unexpected", traceback.format_exc()
    except (Exception, SystemExit, _TooLong):
        outcome, why = "unexpected", traceback.format_exc()
    took, size = time.process_time() - began, max(high_water_bytes() - before, 0)
    if outcome != "unexpected" and (took > _MOST_SECONDS or size > _MOST_BYTES):
        outcome, why = "unexpected", f"{outcome}, but in {took:.1f} s and with {size} bytes"
    return outcome, why, took, size


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(number, frame):
        raise _TooLong(f"over {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _keep(workdir: Path, current: str, name: str, content: bytes, why: str) -> str:
    """Keeps an input as it was given, and why it is kept; the last line of that."""
    folder = workdir / "unexpected" / current
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    (folder / "why.txt").write_text(why)
    return why.strip().splitlines()[-1]


def main(workdir: str, seed: str, first: str, seconds: str) -> None:
    """The loop of one process; how far it is stands in progress.json, written in one step, for it may end anywhere."""
    reset_high_water()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESS_SPACE, resource.getrlimit(resource.RLIMIT_AS)[1]))

    def report(told: dict[str, Any]) -> None:
        partial = Path(workdir, "progress.partial")
        partial.write_text(json.dumps(told))
        os.replace(partial, Path(workdir, "progress.json"))

    own = {"seed": int(seed), "first": int(first), "seconds": float(seconds)}
    campaign(all_readers(), Path(workdir), report=report, **own)


if __name__ == "__main__":
    main(*sys.argv[1:])

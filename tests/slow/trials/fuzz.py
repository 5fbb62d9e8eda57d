"""Readers given damaged inputs for a while: each has to read them or to refuse them with an error for the user.

python -m tests.slow.trials.fuzz --workdir DIR [--seconds 600] [--seed 0]

A seeded loop of mutations, not guided by coverage. Execution i is a function of (seed, i). It runs in a process of its
own, so that one that a decoder brings down is a finding and not the end.
"""

import argparse
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.children import dying_with_this
from benchmarks.memory import high_water_bytes, resident_bytes
from ddim_jax.runtime.errors import InputError
from tests.slow.trials.programs import FaultRunFailed
from tests.slow.trials.readers import Reader, all_readers

TOOL = "seeded loop of mutations (tests/slow/trials/fuzz.py)"
_COUNTS = ("executions", "read", "refused", "unexpected")
MOST_SECONDS = 20.0
"""Of the processor, so that a busy machine is no finding; `_PATIENCE` times as many by the clock are."""
_PATIENCE = 10
_GRACE_S = 60.0
"""By the clock beyond that, the whole process is killed: a decoder in C never comes back to Python's signal handler."""
_LOOK_S = 0.2
_MOST_IN_A_ROW = 10
"""Processes brought down by the first thing they try; then it is not the inputs."""
MOST_BYTES = 2**30
_ADDRESS_SPACE = 6 * 2**30
"""Beyond what the process has when the loop begins; an input that wants more gets a MemoryError."""


class _TooLong(BaseException):
    """No `Exception`: what a reader catches must not stop it."""


def measure(workdir: Path, *, seconds: float, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Fuzzes every reader for `seconds` and keeps what went wrong in `workdir`/unexpected.

    Returns:
      executions, unexpected (of them, those that ended in anything but success or an `InputError`, took over
      `MOST_SECONDS` or `MOST_BYTES`), read and refused; readers, the same counts of each; one_sided, the readers that
      read nothing or refused nothing; seconds, tool, what was longest and largest, and offenders, the unexpected ones
      by name (reader, seed, number) with the last line of why.

    Raises:
      FaultRunFailed: the fuzzing itself does not work.
    """
    worker = [sys.executable, "-m", "tests.slow.trials.fuzz", "--workdir", str(workdir), "--seed", str(seed)]
    return supervise(lambda first, left: [*worker, "--first", str(first), "--worker", str(left)], workdir, seconds, say)


def supervise(
    command: Callable[[int, float], Sequence[str]], workdir: Path, seconds: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """Starts the worker, and again behind the execution that brought it down, until the time is over.

    Args:
      command: of the worker, from the number of the first execution and the seconds that are left.
      workdir: where the worker keeps `progress.json` and unexpected/.
      seconds: of all executions together; starting a process does not count.
      say: is told what happens.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    progress, offenders = workdir / "progress.json", {}
    readers: dict[str, Counter[str]] = {}
    longest, largest, spent, in_a_row = 0.0, 0, 0.0, 0
    while spent < seconds and in_a_row < _MOST_IN_A_ROW:
        progress.unlink(missing_ok=True)
        with open(workdir / "said.txt", "w") as said:  # decoders in C write a line on nearly every file
            arguments = dying_with_this(command(_sum(readers)["executions"], seconds - spent))
            status = _watch(subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stderr=said), progress)
        if (status or 0) > 0 or not progress.exists():
            raise FaultRunFailed(f"the fuzzing itself failed, see {workdir / 'said.txt'}")
        told = json.loads(progress.read_text())
        for name, counts in told["readers"].items():
            readers.setdefault(name, Counter(dict.fromkeys(_COUNTS, 0))).update(counts)
        longest, largest = max(longest, told["longest_seconds"]), max(largest, told["largest_bytes"])
        offenders |= told["offenders"]
        spent += told["seconds"]
        if status == 0:
            in_a_row = 0
            continue
        spent += max(0.0, time.time() - progress.stat().st_mtime)  # of the execution that did not end
        in_a_row = 0 if _sum(told["readers"])["executions"] else in_a_row + 1
        readers[told["current"].rsplit("-", 2)[0]].update(executions=1, unexpected=1)
        why = f"killed after {_patience():.0f} s" if status is None else f"the process was ended by signal {-status}"
        offenders[told["current"]] = _keep(workdir, told["current"], Path(told["file"]).name, _left(told["file"]), why)
        say(f"fuzz: an input brought the process down, kept in {workdir}/unexpected/{told['current']}")
    if in_a_row == _MOST_IN_A_ROW:
        say(f"fuzz: given up, {in_a_row} processes in a row were brought down by the first input that they tried")
    total = _sum(readers)
    say(f"fuzz: {total['executions']} executions in {spent:.0f} s, {total['unexpected']} unexpected")
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


def _sum(readers: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """The counts of all readers together."""
    return {kind: sum(counts[kind] for counts in readers.values()) for kind in _COUNTS}


def _patience() -> float:
    return _PATIENCE * MOST_SECONDS + _GRACE_S


def _watch(worker: subprocess.Popen, progress: Path) -> int | None:
    """The exit status of a worker; None where it was at one execution for too long, and was killed."""
    seen, since = "", time.monotonic()
    try:
        while time.monotonic() - since < _patience():
            with contextlib.suppress(subprocess.TimeoutExpired):
                return worker.wait(_LOOK_S)
            current = json.loads(progress.read_text())["current"] if progress.exists() else ""
            if current != seen:
                seen, since = current, time.monotonic()
        return None
    finally:
        worker.kill()
        worker.wait()


def _left(file: str) -> bytes:
    """What lies there: a reader that was brought down may have taken it away."""
    return Path(file).read_bytes() if Path(file).exists() else b""


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
      readers (of each, the counts executions, read, refused, unexpected), seconds, longest_seconds, largest_bytes,
      offenders.
    """
    counts = {name: Counter(dict.fromkeys(_COUNTS, 0)) for name in readers}
    told: dict[str, Any] = {"readers": counts, "longest_seconds": 0.0, "largest_bytes": 0, "offenders": {}}
    began = time.monotonic()
    number = first
    while time.monotonic() - began < seconds and (executions is None or number - first < executions):
        name = list(readers)[number % len(readers)]
        path, content = _damaged(readers[name], workdir / "try", np.random.default_rng([seed, number]))
        current = f"{name}-{seed}-{number}"
        told.update(current=current, file=str(path), seconds=time.monotonic() - began)
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
    told["seconds"] = time.monotonic() - began
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
    Path("/proc/self/clear_refs").write_text("5")
    before, began = resident_bytes(), time.process_time()
    outcome, why = "read", ""
    try:
        with _alarm(_PATIENCE * MOST_SECONDS):
            read(path)
    except InputError as error:
        outcome = "refused"
        if isinstance(error.__cause__, MemoryError):
            outcome, why = "unexpected", traceback.format_exc()
    except (Exception, SystemExit, _TooLong):
        outcome, why = "unexpected", traceback.format_exc()
    took, size = time.process_time() - began, max(high_water_bytes() - before, 0)
    if outcome != "unexpected" and (took > MOST_SECONDS or size > MOST_BYTES):
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


def _replace(path: Path, text: str) -> None:
    """In one step: the process may end at any moment. Not on the disk: that would be most of the time."""
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    os.replace(partial, path)


def _keep(workdir: Path, current: str, name: str, content: bytes, why: str) -> str:
    """Keeps an input as it was given, and why it is kept; the last line of that."""
    folder = workdir / "unexpected" / current
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    (folder / "why.txt").write_text(why)
    return why.strip().splitlines()[-1]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR", help="where unexpected inputs are kept")
    parser.add_argument("--seconds", type=float, default=600.0, help="default: 600")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=float, metavar="SECONDS", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.worker is None:
        result = measure(given.workdir, seconds=given.seconds, seed=given.seed, say=print)
        return 1 if result["unexpected"] else 0
    limit = resource.getrlimit(resource.RLIMIT_AS)[1]
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESS_SPACE, limit))
    progress = given.workdir / "progress.json"
    campaign(
        all_readers(),
        given.workdir,
        seed=given.seed,
        seconds=given.worker,
        first=given.first,
        report=lambda told: _replace(progress, json.dumps(told)),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

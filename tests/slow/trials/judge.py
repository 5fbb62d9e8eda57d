"""Judges if a program refused its input as it should: in a line, with a name, leaving nothing half done."""

import json
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from benchmarks.faults import PARTS, short_of_limits
from tests.slow.trials.warm import Ended, Programs


class Input(NamedTuple):
    """A bad input.

    Attributes:
      name: of the case.
      told: texts that one line of the program's message has to hold together: the file or the field, and what is wrong;
        of a program that ends well, the line of its output that says what was done.
    """

    name: str
    told: tuple[str, ...]


class Start(NamedTuple):
    """A program started with bad inputs.

    Attributes:
      program, arguments, powerless: as `Programs.run`.
      inputs: each of which has to be told.
      status: the exit status it has to end with.
      kept: patterns of files (relative to the folder) that it may write, because they are no result of a bad input.
    """

    program: str
    arguments: tuple[str, ...]
    inputs: tuple[Input, ...]
    status: int = 2
    kept: tuple[str, ...] = ()
    powerless: bool = False


Make = Callable[[Path], Start]
"""Puts bad inputs into an empty folder, which becomes the working directory, and says what to start."""


class Verdict(NamedTuple):
    """Faults in the end of a program; all empty if there are none.

    Attributes:
      traceback: the exception or the signal that ended it.
      partial: files that are there now, or are not what they were, and claims of success for bad inputs.
      unclear: names of the inputs that were not told, or all if the exit status is another.
    """

    traceback: str
    partial: tuple[str, ...]
    unclear: tuple[str, ...]


def try_start(make: Make, folder: Path, programs: Programs) -> tuple[Start, Verdict]:
    """Makes the inputs in `folder`, starts the program and judges how it ends."""
    folder.mkdir(parents=True)
    start = make(folder)
    before = _listing(folder)
    ended = programs.run(start.program, start.arguments, folder, powerless=start.powerless)
    return start, judge(start, ended, folder, before, _listing(folder))


def judge(start: Start, ended: Ended, folder: Path, before: dict[str, object], after: dict[str, object]) -> Verdict:
    """Judges by the exit status, by what was said, and by the files before and after."""
    traceback = ""
    if "Traceback (most recent call last)" in ended.err + ended.out or ended.status < 0:
        lines = ended.err.strip().splitlines() or [""]
        traceback = lines[-1] if ended.status >= 0 else f"signal {-ended.status}: {lines[-1]}"
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    partial = [name for name in changed if not any(fnmatch(name, pattern) for pattern in start.kept)]
    partial += [
        f"{name} claims success" for name in changed if name.endswith("index.jsonl") if _claims(folder / name, start)
    ]
    lines = (ended.err if start.status else ended.out).splitlines()
    untold = [one.name for one in start.inputs if not any(all(text in line for text in one.told) for line in lines)]
    if ended.status != start.status:
        untold = [f"{one.name} (status {ended.status}, expected {start.status})" for one in start.inputs]
    return Verdict(traceback, tuple(partial), tuple(untold))


def _claims(index: Path, start: Start) -> bool:
    """Returns True if the index of an output folder says that a bad image was segmented."""
    if not index.exists():
        return False
    records = [json.loads(line) for line in index.read_text().splitlines()]
    bad = {Path(one.name).stem for one in start.inputs} if start.status else set()
    return any(record["status"] != "failed" for record in records if Path(record["file"]).stem in bad)


def _listing(folder: Path) -> dict[str, object]:
    """Everything below `folder`: of files, size and time of change, so that one written anew is another.

    What Python keeps of a config that it has compiled (__pycache__) is left out: its settings decide on it.
    """
    found = {}
    for path in folder.rglob("*"):
        if "__pycache__" in path.parts:
            continue
        stat = path.lstat()
        found[path.relative_to(folder).as_posix()] = "folder" if path.is_dir() else (stat.st_size, stat.st_mtime_ns)
    return found


def assert_within_limits(part: str, found: dict) -> None:
    """Fails unless a part of the trials was counted in full, and within the limits of a short one."""
    assert {count.field for count in PARTS[part]} <= found.keys()
    assert short_of_limits(part, found, long=False) == []

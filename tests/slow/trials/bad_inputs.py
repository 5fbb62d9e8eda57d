"""Inputs that cannot be used, each given to the program a user would give it to.

A program has to end with exit status 2 (sample.py with 1, where single images of many fail), a line that names the
file or the field, no traceback, and nothing half done left behind. What only looks as if it could not be used has to be
used: exit status 0, and a line that says so.
"""

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.slow.trials import bad_checkpoints, bad_configs, bad_paths, bad_pictures
from tests.slow.trials.judge import Make, try_start
from tests.slow.trials.tiny import make_run, training, write_config
from tests.slow.trials.warm import Programs, warm_programs

GROUPS = {
    "pictures": lambda run, config, arguments: [
        ("all", bad_pictures.sampled(run)),
        ("one-pixel", bad_pictures.smallest(run)),
    ],
    "pairs": lambda run, config, arguments: bad_pictures.trained(arguments),
    "folders": lambda run, config, arguments: bad_paths.trained(arguments),
    "paths": lambda run, config, arguments: bad_paths.sampled(run),
    "evaluation": lambda run, config, arguments: bad_paths.evaluated(run),
    "export": lambda run, config, arguments: bad_paths.exported(),
    "config": lambda run, config, arguments: bad_configs.trained(config),
    "checkpoint": lambda run, config, arguments: bad_checkpoints.loaded(run),
    "weights": lambda run, config, arguments: bad_checkpoints.begun_with(arguments),
    "forbidden": lambda run, config, arguments: bad_paths.forbidden(run, arguments),
}
"""The folder of the cases, made from a run and a config that work, and the arguments of train.py in a folder."""


def measure(workdir: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Gives every bad input to its program.

    Returns:
      n, the inputs; starts, of programs; tracebacks, the starts that ended in one; partial_outputs, the files left half
      done or claiming success; unclear, the inputs that were not told by a line that names them, or let the program end
      with another exit status; offenders, the names of all of these with what was found; seconds.
    """
    began = time.monotonic()
    workdir = workdir.resolve()
    prepared = prepare(workdir / "prepared")
    cases = ((f"{group}/{name}", make) for group in GROUPS for name, make in cases_of(group, *prepared))
    with warm_programs({**os.environ, "XDG_CACHE_HOME": str(workdir / "cache")}) as programs:
        result = try_cases(cases, workdir / "cases", programs, say)
    return {**result, "seconds": round(time.monotonic() - began, 1)}


def prepare(folder: Path) -> tuple[Path, Path]:
    """A run and a config that work, below `folder`, for `cases_of`."""
    folder.mkdir(parents=True)
    config = folder / "tiny.py"
    write_config(config)
    return make_run(folder / "good"), config


def cases_of(group: str, run: Path, config: Path) -> Iterable[tuple[str, Make]]:
    """The cases of one of `GROUPS` by name, from a run and a config that work."""

    def arguments(folder: Path) -> tuple[str, ...]:
        return training(config)

    return GROUPS[group](run, config, arguments)


def try_cases(
    cases: Iterable[tuple[str, Make]], folder: Path, programs: Programs, say: Callable[[str], None]
) -> dict[str, Any]:
    """Tries cases one after the other in folders of their own, and counts."""
    counts = {"n": 0, "starts": 0, "tracebacks": 0, "partial_outputs": 0, "unclear": 0}
    offenders: dict[str, list[str]] = {"tracebacks": [], "partial_outputs": [], "unclear": []}
    for number, (name, make) in enumerate(cases):
        start, verdict = try_start(make, folder / f"{number:03}", programs)
        counts["starts"] += 1
        counts["n"] += len(start.inputs)
        found = {
            "tracebacks": [verdict.traceback] if verdict.traceback else [],
            "partial_outputs": verdict.partial,
            "unclear": verdict.unclear,
        }
        for kind, ones in found.items():
            counts[kind] += len(ones)
            offenders[kind] += [f"{name}: {one}".rstrip(": ") for one in ones]
        if any(found.values()):
            say(f"bad inputs: {name} ({folder / f'{number:03}'}): {found}")
    say(f"bad inputs: {counts}")
    return {**counts, "offenders": offenders}

"""The facts that all runs in an output folder, and all processes of one run, have to agree on."""

import contextlib
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddim_jax.inference.processes import Process
from ddim_jax.runtime.atomic import write_json
from ddim_jax.runtime.environment import warn_if_changed
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.json_text import parse_json
from ddim_jax.sampling_options import SamplingOptions

SETTINGS = "settings.json"
PROCESSES = ".processes.json"
_DIGESTS = ("calibration", "unlikeness")


def check_regular(paths: Iterable[Path]) -> None:
    """Refuses records that are FIFOs, which are waited for, or links, behind which somebody else's file may be.

    Raises:
      InputError: one is; it is named.
    """
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(path).st_mode):
                raise InputError(
                    f"{path} is {'a link' if path.is_symlink() else 'no regular file'}; expected a record that was "
                    "written here. Use another output folder"
                )


def agree_on_settings(path: Path, settings: Mapping[str, Any], records: Sequence[Path]) -> None:
    """Writes the settings of a folder, or compares them with those there; `records` are its index and parts.

    Raises:
      InputError: they differ, or cannot be read; or there are records without settings.
    """
    try:
        there = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        for index in records:
            if index.exists():
                message = f"{path.parent} holds {index.name} but no {SETTINGS}; use an empty output folder"
                raise InputError(message) from None
        write_json(path, dict(settings))
        return
    except ValueError as error:
        raise InputError(f"{path} cannot be read ({error}); use an empty output folder") from error
    if not isinstance(there, dict):
        raise InputError(f"{path} holds no settings; use an empty output folder")
    there, settings = map(SamplingOptions.with_added, (there, settings))
    differing = [
        name
        for name in sorted(there.keys() | settings.keys())
        if name not in ("checkpoint", "surroundings") and there.get(name) != settings.get(name)
    ]
    differences = [
        f"{name} is {there.get(name)} there and {settings.get(name)} now" for name in differing if name not in _DIGESTS
    ]
    # With other options there is another calibration, or none: that is said where nothing else differs.
    differences = differences or [_made(name, there.get(name), settings.get(name)) for name in differing]
    if differences:
        if there.get("weights") != settings.get("weights"):
            differences.append(f"made with {there.get('checkpoint')}, now {settings['checkpoint']}")
        raise InputError(
            f"{path.parent} holds results of other settings: {'; '.join(differences)}. Use another output folder"
        )
    warn_if_changed(there.get("surroundings"), os.fspath(path.parent), settings.get("surroundings", {}))


def _made(name: str, there: str | None, now: str | None) -> str:
    """The difference of two digests in words."""
    if there is not None and now is not None:
        return f"{name} was made anew"
    return f"{name} is {'not made' if there is None else 'made'} there and {'not made' if now is None else 'made'} now"


def agree_on_work(path: Path, work: Mapping[str, Any], process: Process, alone: bool) -> None:
    """Refuses a process that was given other work than those that started before it; only under `.index.lock`.

    An image that is the share of one process would else be in the list of another alone, and never done. A process
    that starts again, with nobody at work, begins anew: the others have to agree with it.

    Args:
      path: of the record, written anew.
      work: by the names of the arguments.
      process: which one of several this is.
      alone: True if nobody else is at work in the folder.

    Raises:
      InputError: they do not agree; what differs is named.
    """
    try:
        there = parse_json(path.read_text(encoding="utf-8"))
        count, started, given = there["count"], [int(index) for index in there["started"]], dict(there["work"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # with a damaged one, all begin anew
        count, started, given = 0, [], {}
    if not started or (alone and (count != process.count or process.index in started)):
        started, given = [], work
    for name in sorted(given.keys() | work.keys()):
        if given.get(name) != work.get(name):
            others = f"process {', '.join(map(str, started))} of {count}"
            raise InputError(
                f"{path.parent}: {name} is {work.get(name)} here, and {given.get(name)} for {others}. Each process "
                "does a share of one list of images: start all of them with the same arguments"
            )
    started = sorted({*started, process.index})
    write_json(path, {"count": process.count, "started": started, "work": dict(work)})

"""The files that make up the record of an output folder: `index.jsonl`, and the parts of processes that share the work.

`ddim_jax.inference.index.Index` says when each is written; what is here happens under its lock.
"""

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

from absl import logging

from ddim_jax.inference.processes import Process
from ddim_jax.runtime.atomic import atomic_path
from ddim_jax.runtime.errors import InputError, InUseError
from ddim_jax.runtime.json_text import parse_json
from ddim_jax.runtime.locks import try_lock

INDEX = "index.jsonl"
_PART = re.compile(r"index\.([0-9]+)-of-([0-9]+)\.jsonl")
_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial\..+")  # as `atomic_path` names files
_OTHER_LOCK = re.compile(r"\..+\.lock")  # in the folder of another run of any command


def part_name(process: Process) -> str:
    """The name of the index that a process appends to: its part, or of one process alone the whole."""
    return INDEX if process.count == 1 else f"index.{process.index}-of-{process.count}.jsonl"


def list_parts(folder: Path) -> list[Path]:
    """The parts that were not merged yet, sorted."""
    with os.scandir(folder) as entries:  # entry by entry, for there may be millions of results
        return sorted(folder / entry.name for entry in entries if _PART.fullmatch(entry.name))


def files_in_use(folder: Path) -> list[str]:
    """The names of the files that processes at work append to; only under `.index.lock`."""
    found = []
    for path in (folder / INDEX, *list_parts(folder)):
        with contextlib.suppress(FileNotFoundError), open(path, "r+b") as file:
            found += [] if try_lock(file, required=False) else [path.name]
    return found


def check_free(folder: Path, process: Process) -> bool:
    """Returns True if nobody else is at work in the folder; refuses a start that would do the work of others again."""
    held = files_in_use(folder)
    for name in held:
        part = _PART.fullmatch(name)
        count = int(part[2]) if part else 1
        if name == part_name(process) or count != process.count:
            run = "another run" if count == 1 else f"process {part[1]} of {count}"
            this = f", and this is {process}" if max(count, process.count) > 1 else ""
            raise InUseError(
                f"{folder}: {run} is at work there ({name} is in use){this}; wait until it ends, or use another output "
                "folder"
            )
    return not held


def remove_partial(folder: Path) -> None:
    """Removes what killed runs were writing, results in any folder below and records here."""
    for place, folders, names in os.walk(folder):  # folders that may not be read, such as lost+found, are passed over
        if place != os.fspath(folder) and any(_OTHER_LOCK.fullmatch(name) for name in names):
            folders.clear()  # another run's: it may be writing them
            continue
        for name in filter(_PARTIAL.fullmatch, folders):  # of the slices of one source
            shutil.rmtree(os.path.join(place, name), ignore_errors=True)
        for name in filter(_PARTIAL.fullmatch, names):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(place, name))


def read_lines(path: Path, lines: dict[str, bytes]) -> tuple[int, bool]:
    """Adds the lines of a file to those by name; the last line of a name counts. No file has no lines.

    Returns:
      The bytes of all whole lines (a last one may be torn: its writer was killed), and whether the file is as it is
      after merging.

    Raises:
      InputError: a whole line is no record; the file and the line are named.
    """
    end, last, in_order = 0, "", True
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                logging.warning("%s: the last line is incomplete (the run was killed); that image is done again", path)
                return end, False
            try:
                name = _checked(parse_json(line))["name"]
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{path}: line {number} is damaged; remove the line, and the results of its image, which is done "
                    "again"
                ) from error
            in_order &= last < name
            last = name
            end += len(line)
            lines[name] = line
    return end, in_order


def _checked(record: Any) -> dict:
    """The record, if it is one; AttributeError, KeyError, TypeError or ValueError if not."""
    outputs = record.get("outputs", [])
    if not isinstance(record["name"], str) or not isinstance(record["file"], str):
        raise TypeError("name and file are texts")
    if record["status"] not in ("ok", "failed"):
        raise ValueError("the status is neither ok nor failed")
    if not isinstance(outputs, list) or not all(isinstance(kind, str) for kind in outputs):
        raise TypeError("outputs are a list of kinds")
    if not isinstance(record.get("output_bytes", []), list):
        raise TypeError("output_bytes are a list of sizes")
    if not isinstance(record.get("slices", 1), int):
        raise TypeError("slices are a number")
    if record["status"] == "ok" and not 0 <= record["doubt"] <= 1:
        raise ValueError("the doubt is a number from 0 to 1")
    if not all(0 <= doubt <= 1 for doubt in record.get("doubt_of_slices", ())):
        raise ValueError("the doubts of slices are numbers from 0 to 1")
    return record


def merge_parts(folder: Path) -> dict[str, bytes]:
    """Makes one `index.jsonl` of itself and the parts, sorted by name; only under `.index.lock`, with nobody at work.

    The new file replaces the old one before the parts are removed: stopped at any point, merging can begin anew.

    Returns:
      Its lines by name.

    Raises:
      InputError: a line is damaged.
    """
    parts = list_parts(folder)
    lines: dict[str, bytes] = {}
    _, in_order = read_lines(folder / INDEX, lines)
    if any([read_lines(part, lines)[0] for part in parts]) or not in_order:
        with atomic_path(folder / INDEX) as temporary, open(temporary, "wb") as file:
            file.writelines(lines[name] for name in sorted(lines))
    for part in parts:
        part.unlink()
    return lines

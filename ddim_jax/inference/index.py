"""The record of an output folder: `settings.json` and `index.jsonl`, one line a picture.

One process alone appends to `index.jsonl` itself, process I of N to a part, `index.<I>-of-<N>.jsonl`; the one that ends
last, or the next that starts after processes were killed, merges the parts; `.processes.json` has what all of them have
to be given alike. A process holds the lock of the file it
appends to, which the system takes back however the process ends: a file whose lock is free belongs to nobody. Starting,
merging and ending happen under `.index.lock`, one process at a time.
"""

import contextlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from absl import logging

from ddim_jax.inference.agreement import PROCESSES, SETTINGS, agree_on_settings, agree_on_work, check_regular
from ddim_jax.inference.jobs import Job
from ddim_jax.inference.processes import Process
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.atomic import atomic_path, errors_naming, make_folder
from ddim_jax.runtime.errors import InputError, InUseError
from ddim_jax.runtime.locks import locked, try_lock
from ddim_jax.runtime.mounts import locks_of_one_host

INDEX = "index.jsonl"
_LOCK = ".index.lock"
_PART = re.compile(r"index\.([0-9]+)-of-([0-9]+)\.jsonl")
_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial\..+")  # as `atomic_path` names files
_OTHER_LOCK = re.compile(r"\..+\.lock")  # in the folder of another run of any command
_Result = TypeVar("_Result")


class Index:
    """The record of one output folder, so that a run can stop at any moment and go on later.

    Each line of `index.jsonl` is a JSON object: `name` (of the results), `file` (the picture), its `bytes` and
    `mtime_ns` (null where the file system did not tell), `status` ("ok" or "failed"), and then `outputs` (kinds of
    results), `height`, `width`, `area` (pixels of the mask; of several classes `areas` has each),
    `mean_uncertainty`, `doubt` and `seconds`, or `reason`.
    Lines are appended while running; the last line of a name counts. The lines of earlier runs are in memory, some
    hundred bytes each.

    Args:
      folder: the output folder; made where it does not exist.
      settings: what all results of the folder have in common; "checkpoint" is written down but not compared,
        and of other "surroundings" (`ddim_jax.ops.surroundings`) a warning is given.
      process: which one of several this is.
      work: what all processes have to be given alike, since each does a share of it, by the names of the arguments.

    Raises:
      InputError: the folder holds results of other settings (the differences are named), a damaged record, or results
        of a kind that no writer makes; or another process was given other work.
      InUseError: somebody is at work there as the same process or with another number of processes.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], process: Process, work: Mapping[str, Any] | None = None
    ):
        self._folder = folder
        self._required = process.count > 1  # of locks: one process alone can do without
        make_folder(folder)
        check_regular([folder / name for name in (SETTINGS, INDEX, _LOCK, PROCESSES)] + _parts(folder))
        own = folder / _part_name(process)
        with contextlib.ExitStack() as stack:
            with self._alone():
                agree_on_settings(folder / SETTINGS, settings, [folder / INDEX, *_parts(folder)])
                alone = _check_free(folder, process)
                if work is not None and process.count > 1:
                    agree_on_work(folder / PROCESSES, work, process, alone)
                if alone:
                    # What killed runs left: half-written files anywhere, records here.
                    _remove_partial(folder)
                    self._lines = _merge(folder)
                self._file = stack.enter_context(open(own, "ab"))
                try_lock(self._file, required=self._required)
            # From here on nobody merges, so that processes that start together read at the same time. The parts of
            # others at work are not read: the pictures in them are theirs.
            if not alone:
                self._lines = {}
                _read(folder / INDEX, self._lines)
                end, _ = _read(own, self._lines)
                os.truncate(own, end)  # or the next line would be written behind a torn one
            kinds = {kind for name in self._lines for kind in self.kinds(name)}
            unknown = sorted(kind for kind in kinds if kind not in WRITERS)
            if unknown:
                raise InputError(
                    f"{folder} holds results of kind {', '.join(unknown)}, which no writer makes: they would not be "
                    "kept up to date. Name the module that registers it with --plugins, or use another output folder"
                )
            self._opened = stack.pop_all()  # held for the run, closed by close()

    def is_done(self, job: Job, kinds: tuple[str, ...], segments: Mapping[str, str] | None = None) -> bool:
        """Returns True if the wanted results of this very picture, unchanged since, are there, with these `segments`.

        Raises:
          InputError: the picture is itself a result of this folder, or the results of that name belong to another one.
        """
        if self._is_result(job.source):
            raise InputError(f"{job.source} is a result of an earlier run, not an image; use another output folder")
        record = self._record(job.name)
        if record.get("status") != "ok":
            return False
        if record["file"] != job.source:
            raise InputError(
                f"{self._folder / job.output('mask')} belongs to {record['file']}, not to {job.source}; "
                "use another output folder"
            )
        try:
            size, mtime_ns = job.state()
        except OSError:
            return False  # reading it will say why
        return (
            not self.changed(job.name, size, mtime_ns)
            and set(kinds) <= set(record.get("outputs", ()))
            and (not with_segments(kinds) or record.get("segments", {}) == dict(segments or {}))
            and self.has_results(job, record, kinds)
        )

    def has_results(self, job: Job, record: Mapping[str, Any], kinds: Iterable[str]) -> bool:
        """Returns True if these results are there as the picture's record says, by their sizes."""
        recorded = dict(zip(record.get("outputs", ()), record.get("output_bytes", ()), strict=False))
        for kind in kinds:
            size = result_size(self._folder / job.output(kind, record.get("slices", 1)))
            if not size or recorded.get(kind, size) != size:
                return False
        return True

    def is_of(self, name: str, source: str) -> bool:
        """Returns True if an earlier run gave this name to this picture."""
        return self._record(name).get("file") == source

    def kinds(self, name: str) -> tuple[str, ...]:
        """The kinds of results an earlier run left for this name."""
        return tuple(self._record(name).get("outputs", ()))

    def slices(self, name: str) -> int:
        """The number of slices of which an earlier run left results of this name, 1 for a picture."""
        return self._record(name).get("slices", 1)

    def changed(self, name: str, size: int, mtime_ns: int) -> bool:
        """Returns True unless an earlier run recorded this state of the file of that name."""
        record = self._record(name)
        return (record.get("bytes"), record.get("mtime_ns")) != (size, mtime_ns)

    def add(self, record: Mapping[str, Any]) -> None:
        """Appends a line and hands it to the operating system at once.

        Raises:
          InputError: the file that this process appends to is no longer there: the folder was removed or moved.
        """
        with errors_naming(self._file.name):
            self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
            self._file.flush()
        self._check_there()

    def close(self, then: Callable[[Iterator[dict]], _Result] | None = None) -> _Result | None:
        """Ends this process's part; the last process at work makes one index of all, with one line a name, sorted.

        Closing again does nothing.

        Args:
          then: called with all records, in the order of their names, if this process is the last one; nobody starts or
            ends meanwhile.

        Returns:
          What `then` gave; None if it was not called.

        Raises:
          InputError: as `add`.
        """
        if self._file.closed:
            return None
        self._lines = {}
        try:
            self._check_there()
        except InputError:
            self._opened.close()
            raise
        with self._alone():
            with errors_naming(self._file.name):
                self._opened.close()
            if _held(self._folder):
                return None
            merged = _merge(self._folder)
            return None if then is None else then(json.loads(merged[name]) for name in sorted(merged))

    def _check_there(self) -> None:
        """Nobody else appends to this process's file, so one of another size in its place is not that file."""
        try:
            there = os.stat(self._file.name).st_size == self._file.tell()
        except FileNotFoundError:
            there = False
        if not there:
            raise InputError(removed(self._file.name))

    def _alone(self) -> contextlib.AbstractContextManager:
        return locked(self._folder / _LOCK, required=self._required)

    def _record(self, name: str) -> dict:
        line = self._lines.get(name)
        return {} if line is None else json.loads(line)

    def _is_result(self, source: str) -> bool:
        below = os.path.join(self._folder, "")
        if not source.startswith(below):
            return False
        relative = source.removeprefix(below)
        ends = ((kind, f"_{kind}{writer.suffix}") for kind, writer in WRITERS.items())
        return any(relative.endswith(end) and kind in self.kinds(relative.removesuffix(end)) for kind, end in ends)


def with_segments(kinds: Iterable[str]) -> list[str]:
    """Those of the kinds whose files hold the coded concepts of the classes."""
    return [kind for kind in kinds if getattr(WRITERS.get(kind), "has_segments", False)]


def result_size(path: Path) -> int:
    """Bytes of a result, a file or the folder of a source's slices; 0 where there is none."""
    try:
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            with os.scandir(path) as entries:
                return sum(entry.stat().st_size for entry in entries)
        return found.st_size if stat.S_ISREG(found.st_mode) else 0
    except OSError:
        return 0


def removed(path: str | os.PathLike) -> str:
    """The message for a file of the results that somebody took away while a run was at work."""
    return (
        f"{path}: removed or replaced while this run was at work, with the results or some of them; start the same "
        "command again, which does what is missing"
    )


def check_locks(folder: Path, process: Process) -> None:
    """Checks, without making anything, that several processes would see each other's locks in a folder.

    Raises:
      InputError: there are several, and the file system may keep its locks to one host.
    """
    mount = locks_of_one_host(folder) if process.count > 1 else None
    if mount is not None:
        raise InputError(
            f"{folder} lies on {mount.point} ({mount.kind}), whose locks may be known to one machine only: several "
            "processes would not see each other there. Give a folder on another file system, or start one process alone"
        )


def _part_name(process: Process) -> str:
    return INDEX if process.count == 1 else f"index.{process.index}-of-{process.count}.jsonl"


def _parts(folder: Path) -> list[Path]:
    """The parts that were not merged yet, sorted."""
    with os.scandir(folder) as entries:  # entry by entry, for there may be millions of results
        return sorted(folder / entry.name for entry in entries if _PART.fullmatch(entry.name))


def _held(folder: Path) -> list[str]:
    """The names of the files that processes at work append to; only under `.index.lock`."""
    found = []
    for path in (folder / INDEX, *_parts(folder)):
        with contextlib.suppress(FileNotFoundError), open(path, "r+b") as file:
            found += [] if try_lock(file, required=False) else [path.name]
    return found


def _check_free(folder: Path, process: Process) -> bool:
    """Returns True if nobody else is at work in the folder; refuses a start that would do the work of others again."""
    held = _held(folder)
    for name in held:
        part = _PART.fullmatch(name)
        count = int(part[2]) if part else 1
        if name == _part_name(process) or count != process.count:
            run = "another run" if count == 1 else f"process {part[1]} of {count}"
            this = f", and this is {process}" if max(count, process.count) > 1 else ""
            raise InUseError(
                f"{folder}: {run} is at work there ({name} is in use){this}; wait until it ends, or use another output "
                "folder"
            )
    return not held


def _remove_partial(folder: Path) -> None:
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


def _read(path: Path, lines: dict[str, bytes]) -> tuple[int, bool]:
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
                name = _checked(json.loads(line))["name"]
            except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
                raise InputError(
                    f"{path}: line {number} is damaged; remove the line (its image is done again)"
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
    if record["status"] == "ok" and not 0 <= record["doubt"] <= 1:
        raise ValueError("the doubt is a number from 0 to 1")
    return record


def _merge(folder: Path) -> dict[str, bytes]:
    """Makes one `index.jsonl` of itself and the parts, sorted by name; only under `.index.lock`, with nobody at work.

    The new file replaces the old one before the parts are removed: stopped at any point, merging can begin anew.

    Returns:
      Its lines by name.

    Raises:
      InputError: a line is damaged.
    """
    parts = _parts(folder)
    lines: dict[str, bytes] = {}
    _, in_order = _read(folder / INDEX, lines)
    if any([_read(part, lines)[0] for part in parts]) or not in_order:
        with atomic_path(folder / INDEX) as temporary, open(temporary, "wb") as file:
            file.writelines(lines[name] for name in sorted(lines))
    for part in parts:
        part.unlink()
    return lines

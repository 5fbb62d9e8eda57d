"""The record of an output folder: `settings.json` and `index.jsonl`, one line an image.

One process alone appends to `index.jsonl` itself, process I of N to a part, `index.<I>-of-<N>.jsonl`; the one that ends
last, or the next that starts after processes were killed, merges the parts; `.processes.json` has what all of them have
to be given alike. A process holds the lock of the file it appends to, which the system takes back however the process
ends: a file whose lock is free belongs to nobody. Starting, merging and ending happen under `.index.lock`, one process
at a time.
"""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ddim_jax.imageio.writers import declared
from ddim_jax.inference.agreement import PROCESSES, SETTINGS, agree_on_settings, agree_on_work, check_regular
from ddim_jax.inference.file_state import FileState, recorded_state
from ddim_jax.inference.jobs import Job
from ddim_jax.inference.parts import (
    INDEX,
    check_free,
    files_in_use,
    list_parts,
    merge_parts,
    part_name,
    read_lines,
    remove_partial,
)
from ddim_jax.inference.processes import Process
from ddim_jax.inference.slice_folders import result_size
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.atomic import errors_naming, make_folder
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.locks import locked, try_lock

_LOCK = ".index.lock"
_KILLED = "the run ended while its results were being written"
_Result = TypeVar("_Result")


class Index:
    """The record of one output folder, so that a run can stop at any moment and go on later.

    Each line of `index.jsonl` is a JSON object: `name` (of the results), `file` (the image), its `bytes` and
    `mtime_ns` (null where the file system did not tell; `FileState`), `status` ("ok" or "failed"), and then `outputs`
    (kinds of results), `height`, `width`, `area` (pixels of the mask; of several classes `areas` has each),
    `mean_uncertainty`, `doubt`, `unlikeness` (null: not judged) and `seconds`, or `reason`.
    Lines are appended while running; the last line of a name counts. A line with the status "failed" comes before the
    results of an image (`claim`), and one with "ok" after them. The lines of earlier runs are in memory, some hundred
    bytes each, until the image has its new one.

    Args:
      folder: the output folder; made where it does not exist.
      settings: what all results of the folder have in common; "checkpoint" is written down but not compared,
        and of other "surroundings" (`ddim_jax.runtime.environment`) a warning is given.
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
        self._appending = threading.Lock()
        self._torn = False  # part of a line is on the disk, which is full
        make_folder(folder)
        check_regular([folder / name for name in (SETTINGS, INDEX, _LOCK, PROCESSES)] + list_parts(folder))
        own = folder / part_name(process)
        with contextlib.ExitStack() as stack:
            with self._alone():
                agree_on_settings(folder / SETTINGS, settings, [folder / INDEX, *list_parts(folder)])
                alone = check_free(folder, process)
                if work is not None and process.count > 1:
                    agree_on_work(folder / PROCESSES, work, process, alone)
                if alone:
                    # What killed runs left: half-written files anywhere, records here.
                    remove_partial(folder)
                    self._lines = merge_parts(folder)
                self._file = stack.enter_context(open(own, "ab"))
                try_lock(self._file, required=self._required)
            # From here on nobody merges, so that processes that start together read at the same time. The parts of
            # others at work are not read: the images in them are theirs.
            if not alone:
                self._lines = {}
                read_lines(folder / INDEX, self._lines)
                end, _ = read_lines(own, self._lines)
                os.truncate(own, end)  # or the next line would be written behind a torn one
            kinds = {kind for name in self._lines for kind in self.record(name).get("outputs", ())}
            unknown = sorted(kind for kind in kinds if kind not in WRITERS)
            if unknown:
                raise InputError(
                    f"{folder} holds results of kind {', '.join(unknown)}, which no writer makes: they would not be "
                    "kept up to date. Name the module that registers it with --plugins, or use another output folder"
                )
            self._opened = stack.pop_all()  # held for the run, closed by close()

    def is_done(self, job: Job, kinds: tuple[str, ...], segments: Mapping[str, str] | None = None) -> bool:
        """Returns True if the wanted results of this very image, unchanged since, are there, with these `segments`.

        Raises:
          InputError: the image is itself a result of this folder, or the results of that name belong to another one.
        """
        if self._is_result(job.source):
            raise InputError(f"{job.source} is a result of an earlier run, not an image; use another output folder")
        record = self.record(job.name)
        if (outputs := record.get("outputs")) and record["file"] != job.source:
            place = self._folder / job.output(outputs[0], record.get("slices", 1))
            raise InputError(f"{place} belongs to {record['file']}, not to {job.source}; use another output folder")
        if record.get("status") != "ok":
            return False
        try:
            state = job.state()
        except OSError:
            return False  # reading it will say why
        return (
            not self.changed(job.name, state)
            and set(kinds) <= set(record.get("outputs", ()))
            and (not with_segments(kinds) or record.get("segments", {}) == dict(segments or {}))
            and self.has_results(job, record, kinds)
        )

    def has_results(self, job: Job, record: Mapping[str, Any], kinds: Iterable[str]) -> bool:
        """Returns True if these results are there as the image's record says, by their sizes."""
        recorded = dict(zip(record.get("outputs", ()), record.get("output_bytes", ()), strict=False))
        for kind in kinds:
            size = result_size(self._folder / job.output(kind, record.get("slices", 1)))
            if not size or recorded.get(kind, size) != size:
                return False
        return True

    def record(self, name: str) -> dict[str, Any]:
        """The line that an earlier run left of this name; empty where there is none."""
        line = self._lines.get(name)
        return {} if line is None else json.loads(line)

    def is_of(self, name: str, source: str) -> bool:
        """Returns True if an earlier run gave this name to this image."""
        return self.record(name).get("file") == source

    def written(self, job: Job) -> dict[str, Any]:
        """The fields of the line of this name that tell which results are there: outputs, output_bytes and slices."""
        record = self.record(job.name)
        return {field: record[field] for field in ("outputs", "output_bytes", "slices") if field in record}

    def changed(self, name: str, state: FileState) -> bool:
        """Returns True unless an earlier run recorded this state of the files of that name."""
        return not state.is_recorded(self.record(name))

    def claim(self, job: Job, kinds: Iterable[str], slices: int = 1) -> None:
        """Writes down, as far as the disk, that the results of an image are about to be written; from any thread.

        So a run that is killed before it adds the line of the image leaves nothing that the next one does not know
        for its own, even where the power fails.

        Raises:
          InputError: as `add`; nothing is to be written then.
        """
        state = recorded_state(self.record(job.name))
        record = {"name": job.name, "file": job.source, **state.fields()}
        record |= {"status": "failed", "reason": _KILLED, "outputs": list(kinds), "slices": slices}
        self._lines[job.name] = self._append(record)
        with errors_naming(self._file.name):
            os.fsync(self._file.fileno())
        self._check_there()

    def add(self, record: Mapping[str, Any]) -> None:
        """Appends a line and hands it to the operating system at once.

        Raises:
          InputError: the file that this process appends to is no longer there: the folder was removed or moved.
        """
        self._append(record)
        self._lines.pop(record["name"], None)  # nobody asks for it any more
        self._check_there()

    def _append(self, record: Mapping[str, Any]) -> bytes:
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        with errors_naming(self._file.name), self._appending:
            try:
                self._file.write(line)
                self._file.flush()
            except OSError:
                self._torn = True
                raise
        return line

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
            with errors_naming(self._file.name):
                self._opened.close()
            raise
        with self._alone():
            with errors_naming(self._file.name):
                self._opened.close()
            if files_in_use(self._folder):
                return None
            merged = merge_parts(self._folder)
            return None if then is None else then(json.loads(merged[name]) for name in sorted(merged))

    def _check_there(self) -> None:
        """Nobody else appends to this process's file, so one of another size in its place is not that file."""
        try:
            with self._appending:
                there = self._torn or os.stat(self._file.name).st_size == self._file.tell()
        except FileNotFoundError:
            there = False
        if not there:
            raise InputError(removed(self._file.name))

    def _alone(self) -> contextlib.AbstractContextManager:
        return locked(self._folder / _LOCK, required=self._required)

    def _is_result(self, source: str) -> bool:
        below = os.path.join(self._folder, "")
        if not source.startswith(below):
            return False
        relative = source.removeprefix(below)
        ends = ((kind, f"_{kind}{writer.suffix}") for kind, writer in WRITERS.items())
        return any(
            relative.endswith(end) and kind in self.record(relative.removesuffix(end)).get("outputs", ())
            for kind, end in ends
        )


def has_doubt(record: Mapping[str, Any]) -> bool:
    """Returns True if there are results of an image with a doubt, though another kind of them may have failed it."""
    return record.get("status") == "ok" or (bool(record.get("outputs")) and record.get("doubt") is not None)


def with_segments(kinds: Iterable[str]) -> list[str]:
    """The kinds whose files hold the coded concepts of the classes."""
    return [kind for kind in kinds if declared(WRITERS.get(kind), "has_segments")]


def removed(path: str | os.PathLike) -> str:
    """The message for a file of the results that somebody took away while a run was at work."""
    return (
        f"{path}: removed or replaced while this run was at work, with the results or some of them; start the same "
        "command again, which does what is missing"
    )

"""What an output folder already holds: `settings.json` and `index.jsonl`, one line an image."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from ddim_jax.inference.lines import Lines
from ddim_jax.inference.outputs import OUTPUTS, Job
from ddim_jax.inference.parts import (
    INDEX,
    alone,
    check_free,
    find_parts,
    held_files,
    merge,
    part_name,
    remove_partial,
    warn_torn,
)
from ddim_jax.inference.processes import Process
from ddim_jax.runtime.atomic import errors_naming, make_folder, write_json
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.locks import try_lock

SETTINGS = "settings.json"
_Result = TypeVar("_Result")


class Index:
    """The record of one output folder, so that a run can stop at any moment and go on later.

    Each line of `index.jsonl` is a JSON object: `name` (of the results), `file` (the image), `bytes` and `mtime_ns` of
    the image (null where the file system did not tell), `status` ("ok" or "failed"), and then `outputs`, `height`,
    `width`, `area` (pixels of the mask), `mean_uncertainty`, `doubt` (lines of earlier versions lack it) and `seconds`,
    or `reason`. Lines are appended while running; the last line of a name counts. With several processes each appends
    to a part of its own, and the one that ends last merges them (see `ddim_jax.inference.parts`); what killed processes
    left is merged by the next that starts while nobody is at work. Records stay on disk; of each image done before, 25
    bytes are in memory (see `Lines`).

    Starting and ending, others wait while settings are compared and, by the first one there and the last one, files are
    merged. Each reads what was done before while the others go on.

    Args:
      folder: the output folder; made where it does not exist.
      settings: what all results of the folder have in common; "checkpoint" is written down but not compared.
      process: which one of several this is.

    Raises:
      InputError: the folder holds results of other settings (the differences are named), or a damaged record; or
        somebody is at work there as the same process or with another number of processes.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], process: Process):
        self._folder = folder
        self._several = process.count > 1
        make_folder(folder)
        own = folder / part_name(process)
        with contextlib.ExitStack() as stack:
            with alone(folder, required=self._several):
                _agree_on_settings(folder, settings)
                if check_free(folder, process):
                    # What a killed run was writing: results anywhere, records here.
                    remove_partial(folder)
                    merge(folder)
                self._file = stack.enter_context(open(own, "ab"))
                try_lock(self._file, required=self._several)
            # This process is at work now, so that nobody merges: the others need not wait while it reads. It does not
            # read the parts of others at work: the images in them are theirs.
            self._lines = [
                stack.enter_context(contextlib.closing(Lines(path))) for path in dict.fromkeys((own, folder / INDEX))
            ]
            before = self._lines[0]
            if before.torn:
                warn_torn(before)
                # Cut it off, or the next line would be written behind it.
                os.truncate(own, before.end)
            self._opened = stack.pop_all()  # held for the run, closed by close()

    def is_done(self, job: Job, kinds: tuple[str, ...], *, with_doubt: bool = False) -> bool:
        """Whether the wanted results of this very image, unchanged since, are there.

        Args:
          job: the image.
          kinds: of results that are wanted.
          with_doubt: whether its doubt is wanted as well.

        Raises:
          InputError: the image is itself a result of this folder, or the results of that name belong to another image.
        """
        if self._is_result(job.source):
            raise InputError(f"{job.source} is a result of an earlier run, not an image; use another output folder")
        record = self._record(job.name)
        if record is None or record["status"] != "ok":
            return False
        if record["file"] != str(job.source):
            raise InputError(
                f"{self._folder / job.output('mask')} belongs to {record['file']}, not to {job.source}; "
                "use another output folder"
            )
        try:
            stat = job.source.stat()
        except OSError:
            return False  # reading it will say why
        return (
            (record.get("bytes"), record.get("mtime_ns")) == (stat.st_size, stat.st_mtime_ns)
            and set(kinds) <= set(record.get("outputs", ()))
            and ("doubt" in record or not with_doubt)
            and all((self._folder / job.output(kind)).is_file() for kind in kinds)
        )

    def is_of(self, name: str, source: Path) -> bool:
        """Whether an earlier run gave this name to this image."""
        record = self._record(name)
        return record is not None and record["file"] == str(source)

    def kinds(self, name: str) -> tuple[str, ...]:
        """The kinds of results an earlier run left for this name."""
        return tuple((self._record(name) or {}).get("outputs", ()))

    def changed(self, name: str, size: int, mtime_ns: int) -> bool:
        """Whether what an earlier run left for this name, if anything, is of another state of its file."""
        record = self._record(name)
        return record is None or (record.get("bytes"), record.get("mtime_ns")) != (size, mtime_ns)

    def segmented(self) -> Iterator[dict]:
        """The records of all images that were segmented when this run began."""
        own, *others = self._lines
        rest = (record for lines in others for record in lines.records() if record["name"] not in own)
        return (record for record in chain(own.records(), rest) if record["status"] == "ok")

    def add(self, record: Mapping[str, Any]) -> None:
        """Appends a line and hands it to the operating system at once."""
        with errors_naming(self._file.name):
            self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
            self._file.flush()

    def close(self, then: Callable[[Path], _Result] | None = None) -> _Result | None:
        """Ends this process's part; the last process at work makes one index of all, with one line a name, sorted.

        Closing again does nothing.

        Args:
          then: called with the path of the index (no file if there is no record), if this process is the last one;
            nobody starts or ends meanwhile.

        Returns:
          What `then` gave; None if it was not called.
        """
        if self._file.closed:
            return None
        with alone(self._folder, required=self._several):
            with errors_naming(self._file.name):
                self._opened.close()
            self._lines = []  # 25 bytes of each image, while those that merge are read
            if held_files(self._folder):
                return None
            merge(self._folder)
            return None if then is None else then(self._folder / INDEX)

    def _record(self, name: str) -> dict | None:
        return next((lines.record(name) for lines in self._lines if name in lines), None)

    def _is_result(self, path: Path) -> bool:
        if not path.is_relative_to(self._folder):
            return False
        relative = path.relative_to(self._folder).as_posix()
        return any(
            relative.endswith(f"_{kind}.png") and kind in self.kinds(relative.removesuffix(f"_{kind}.png"))
            for kind in OUTPUTS
        )


def _agree_on_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    path = folder / SETTINGS
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        for index in (folder / INDEX, *find_parts(folder)):
            if index.exists():
                raise InputError(f"{folder} holds {index.name} but no {SETTINGS}; use an empty output folder") from None
        write_json(path, dict(settings))
        return
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}); use an empty output folder") from error
    if not isinstance(there, dict):
        raise InputError(f"{path} holds no settings; use an empty output folder")
    differences = [
        f"{name} is {there.get(name)} there and {settings.get(name)} now"
        for name in sorted(there.keys() | settings.keys())
        if name != "checkpoint" and there.get(name) != settings.get(name)
    ]
    if differences:
        if there.get("weights") != settings.get("weights"):
            differences.append(f"made with {there.get('checkpoint')}, now {settings['checkpoint']}")
        raise InputError(
            f"{folder} holds results of other settings: {'; '.join(differences)}. Use another output folder"
        )

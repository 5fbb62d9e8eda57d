"""What an output folder already holds: `settings.json` and `index.jsonl`, one line an image."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging

from ddim_jax.inference.outputs import Job
from ddim_jax.io.atomic import write_json, write_text
from ddim_jax.io.errors import InputError

SETTINGS = "settings.json"
INDEX = "index.jsonl"


class Index:
    """The record of one output folder, so that a run can stop at any moment and go on later.

    Each line of `index.jsonl` is a JSON object: `name` (of the results), `file` (the image), `bytes` and `mtime_ns` of
    the image, `status` ("ok" or "failed"), and then `outputs`, `height`, `width`, `area` (pixels of the mask),
    `mean_uncertainty`, `doubt` (lines of earlier versions lack it) and `seconds`, or `reason`. Lines are appended while
    running; the last line of a name counts.

    Args:
      folder: the output folder; made where it does not exist.
      settings: what all results of the folder have in common; "checkpoint" is written down but not compared.

    Raises:
      InputError: the folder holds results of other settings (the differences are named), or a damaged record.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        self._folder = folder
        self._path = folder / INDEX
        folder.mkdir(parents=True, exist_ok=True)
        _agree_on_settings(folder, settings)
        for path in folder.rglob(".*.partial.png"):  # what a killed run was writing
            path.unlink()
        self._records = _read_index(self._path)
        self._results = {
            folder / Job(folder, name).output(kind)
            for name, record in self._records.items()
            for kind in record.get("outputs", ())
        }
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 (held for the run, closed by close())

    def is_done(self, job: Job, kinds: tuple[str, ...], *, with_doubt: bool = False) -> bool:
        """Whether the wanted results of this very image, unchanged since, are there.

        Args:
          job: the image.
          kinds: of results that are wanted.
          with_doubt: whether its doubt is wanted as well.

        Raises:
          InputError: the image is itself a result of this folder, or the results of that name belong to another image.
        """
        if job.source in self._results:
            raise InputError(f"{job.source} is a result of an earlier run, not an image; use another output folder")
        record = self._records.get(job.name)
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
            (record["bytes"], record["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns)
            and set(kinds) <= set(record["outputs"])
            and ("doubt" in record or not with_doubt)
            and all((self._folder / job.output(kind)).is_file() for kind in kinds)
        )

    def kinds(self, job: Job) -> tuple[str, ...]:
        """The kinds of results an earlier run left for this name."""
        return tuple(self._records.get(job.name, {}).get("outputs", ()))

    def segmented(self) -> list[dict]:
        """The records of all images that were segmented, by this run or an earlier one."""
        return [record for record in self._records.values() if record["status"] == "ok"]

    def add(self, record: Mapping[str, Any]) -> None:
        """Appends a line and hands it to the operating system at once."""
        self._records[record["name"]] = dict(record)
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Rewrites the index with one line a name, sorted."""
        self._file.close()
        records = (self._records[name] for name in sorted(self._records))
        write_text(self._path, "".join(json.dumps(record, allow_nan=False) + "\n" for record in records))


def _agree_on_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    path = folder / SETTINGS
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if (folder / INDEX).exists():
            raise InputError(f"{folder} holds {INDEX} but no {SETTINGS}; use an empty output folder") from None
        write_json(path, dict(settings))
        return
    except ValueError as error:
        raise InputError(f"{path} cannot be read ({error}); use an empty output folder") from error
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


def _read_index(path: Path) -> dict[str, dict]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    whole, _, torn = content.rpartition(b"\n")
    if torn:
        logging.warning("%s: the last line is incomplete (the run was killed); that image is done again", path)
        # Cut it off, or the next line would be written behind it.
        os.truncate(path, len(content) - len(torn))
    records = {}
    for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
        try:
            record = json.loads(line)
            records[record["name"]] = record
            _ = record["status"], record["file"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: line {number} is damaged; remove the line (its image is done again)") from error
    return records

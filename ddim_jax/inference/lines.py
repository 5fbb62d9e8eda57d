"""Files of records, one a line, read without keeping the records in memory."""

import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ddim_jax.inference.digests import DIGEST, digest, find
from ddim_jax.runtime.errors import InputError


class Lines:
    """The records of one file (JSON lines) by their `name`; the last line of a name counts.

    In memory are a digest of each name and where its line begins, 25 bytes a name, and less than 100 while the file is
    read. A file that is not there has no records. What is appended later is not seen.

    Attributes:
      path: of the file.
      end: bytes of all whole lines.
      torn: bytes behind the last whole line: its writer was killed, or is still writing.
      in_order: whether there is one line a name and the names increase.

    Raises:
      InputError: a whole line is no record; the file and the line are named.
    """

    def __init__(self, path: Path):
        self.path = path
        self.end = self.torn = 0
        self.in_order = True
        self._digests, self._starts = np.empty(0, DIGEST), np.empty(0, np.uint64)  # sorted by digest
        self._is_first = np.empty(0, bool)  # of every line, whether it is the first one of its name
        try:
            self._file = open(path, "rb")  # noqa: SIM115 (closed by close())
        except FileNotFoundError:
            self._file = None
            return
        try:
            self._find_lines()
        except BaseException:
            self.close()
            raise

    def _find_lines(self) -> None:
        last, digests, starts = "", bytearray(), array("Q")
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                self.torn = len(line)
                break
            try:
                name = _checked(json.loads(line))["name"]
            except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
                raise InputError(
                    f"{self.path}: line {number} is damaged; remove the line (its image is done again)"
                ) from error
            self.in_order &= last < name
            last = name
            digests += digest(name)
            starts.append(self.end)
            self.end += len(line)
        if starts:
            self._sort(np.frombuffer(digests, DIGEST), np.frombuffer(starts, np.uint64))

    def _sort(self, digests: np.ndarray, starts: np.ndarray) -> None:
        order = np.argsort(digests, kind="stable")  # lines of one name stay in their order
        digests = digests[order]
        differs = np.append(True, digests[1:] != digests[:-1])
        self._is_first = np.empty(len(order), bool)
        self._is_first[order] = differs
        last = np.append(differs[1:], True)
        self._digests, self._starts = digests[last], starts[order[last]]

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, name: str) -> bool:
        return find(self._digests, name) is not None

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of their first lines; the file must not be closed."""
        return (record["name"] for record in self._first_records())

    def line(self, name: str) -> bytes | None:
        """The last line of a name with its newline; None if there is none."""
        place = find(self._digests, name)
        if place is None:
            return None
        self._file.seek(int(self._starts[place]))
        return self._file.readline()

    def record(self, name: str) -> dict | None:
        """The record of a name; None if there is none."""
        line = self.line(name)
        return None if line is None else json.loads(line)

    def records(self) -> Iterator[dict]:
        """The record of every name, in the order of their first lines."""
        only = len(self._digests) == len(self._is_first)
        return (record if only else self.record(record["name"]) for record in self._first_records())

    def _first_records(self) -> Iterator[dict]:
        position = 0
        for is_first in self._is_first:
            self._file.seek(position)  # others may have read elsewhere since the last line
            line = self._file.readline()
            position += len(line)
            if is_first:
                yield json.loads(line)

    def close(self) -> None:
        """Closes the file; whether it has a name stays known."""
        if self._file is not None:
            self._file.close()


def _checked(record: Any) -> dict:
    """The record, if it is one; KeyError, TypeError or ValueError if not. Earlier versions wrote fewer fields."""
    outputs, doubt = record.get("outputs", []), record.get("doubt", 0.0)
    if not isinstance(record["name"], str) or not isinstance(record["file"], str):
        raise TypeError("name and file are texts")
    if record["status"] not in ("ok", "failed"):
        raise ValueError("the status is neither ok nor failed")
    if not isinstance(outputs, list) or not all(isinstance(kind, str) for kind in outputs):
        raise TypeError("outputs are a list of kinds")
    if not isinstance(doubt, int | float) or not 0 <= doubt <= 1:
        raise ValueError("the doubt is a number from 0 to 1")
    return record

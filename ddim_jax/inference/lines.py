"""Files of records, one a line, read without keeping the records in memory."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ddim_jax.io.errors import InputError


class Lines:
    """The records of one file (JSON lines) by their `name`; the last line of a name counts.

    In memory is where each name's line begins, about 200 bytes a name. A file that is not there has no records. What is
    appended later is not seen.

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
        self._starts: dict[str, int] = {}
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
        last = ""
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                self.torn = len(line)
                return
            try:
                name = _checked(json.loads(line))["name"]
            except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
                raise InputError(
                    f"{self.path}: line {number} is damaged; remove the line (its image is done again)"
                ) from error
            self.in_order &= last < name
            self._starts[name], last = self.end, name
            self.end += len(line)

    def __len__(self) -> int:
        return len(self._starts)

    def __contains__(self, name: object) -> bool:
        return name in self._starts

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._starts)

    def line(self, name: str) -> bytes | None:
        """The last line of a name with its newline; None if there is none."""
        start = self._starts.get(name)
        if start is None:
            return None
        self._file.seek(start)
        return self._file.readline()

    def record(self, name: str) -> dict | None:
        """The record of a name; None if there is none."""
        line = self.line(name)
        return None if line is None else json.loads(line)

    def records(self) -> Iterator[dict]:
        """The record of every name."""
        return map(self.record, self)

    def close(self) -> None:
        """Closes the file; the names stay known."""
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
    if not isinstance(doubt, int | float):
        raise TypeError("the doubt is a number")
    return record

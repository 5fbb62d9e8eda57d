"""Result files that grow row by row: {"rules": {...}, "rows": [...]}, and what tells one row from another."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddim_jax.runtime.atomic import write_json

_EARLIER_PROTOCOLS = {"calibrated": "mean"}
"""Names that the protocols had when files were written that are still read."""


def read_result(path: Path) -> dict[str, Any]:
    """The content of a result file, with the names that protocols have today; {} where there is no file."""
    return renamed(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def renamed(content: dict[str, Any]) -> dict[str, Any]:
    """`content` with protocols by today's names: the field `protocol` of entries, and the keys of `protocols`."""
    found = dict(content)
    for name, value in content.items():
        if name == "protocol":
            found[name] = _EARLIER_PROTOCOLS.get(value, value)
        elif name == "protocols":
            found[name] = {_EARLIER_PROTOCOLS.get(protocol, protocol): scores for protocol, scores in value.items()}
        elif isinstance(value, list):
            found[name] = [renamed(entry) if isinstance(entry, dict) else entry for entry in value]
    return found


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a result file; none where there is no file."""
    return read_result(path).get("rows", [])


def write_rows(path: Path, rules: Mapping[str, str], rows: Sequence[Mapping[str, Any]], **more: Any) -> None:
    """Writes a result file with what its fields mean, its rows, and what stands besides them."""
    write_json(path, {"rules": rules, "rows": rows, **more})


def add_row(path: Path, rules: Mapping[str, str], row: Mapping[str, Any], fields: Sequence[str]) -> None:
    """Writes a result file with one row more, in the place of one that is the same in `fields`."""
    write_rows(path, rules, merged(read_rows(path), [row], fields))


def identity(row: Mapping[str, Any], fields: Sequence[str]) -> tuple:
    """The values of `fields` that tell this row from another, lists as tuples."""
    return tuple(tuple(row[name]) if isinstance(row[name], list) else row[name] for name in fields)


def merged(
    rows: Iterable[Mapping[str, Any]], new: Iterable[Mapping[str, Any]], fields: Sequence[str]
) -> list[dict[str, Any]]:
    """`rows` and after them `new`, which replace rows of the same identity in their place."""
    together = {identity(row, fields): dict(row) for row in rows}
    together |= {identity(row, fields): dict(row) for row in new}
    return list(together.values())

"""Result files that grow row by row: {"rules": {...}, "rows": [...]}, and what tells one row from another."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddim_jax.runtime.atomic import write_json


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a result file; none where there is no file."""
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []


def write_rows(path: Path, rules: Mapping[str, str], rows: Sequence[Mapping[str, Any]], **more: Any) -> None:
    """Writes a result file with what its fields mean, its rows, and what stands besides them."""
    write_json(path, {"rules": rules, "rows": rows, **more})


def identity(row: Mapping[str, Any], fields: Sequence[str]) -> tuple:
    """What tells this row from another: its values of `fields`."""
    return tuple(row[name] for name in fields)


def merged(
    rows: Iterable[Mapping[str, Any]], new: Iterable[Mapping[str, Any]], fields: Sequence[str]
) -> list[dict[str, Any]]:
    """`rows` and after them `new`, which replace rows of the same identity in their place."""
    together = {identity(row, fields): dict(row) for row in rows}
    together |= {identity(row, fields): dict(row) for row in new}
    return list(together.values())

"""Result files that grow row by row: {"rules": {...}, "rows": [...]}, and what tells one row from another."""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddim_jax.runtime.atomic import write_json


def result_parser(description: str, output: Path, workdir: str | None = None) -> argparse.ArgumentParser:
    """A parser with --output, the result file that a command writes, and --workdir where it keeps runs or images."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=Path, default=output, metavar="FILE", help=f"default: docs/results/{output.name}"
    )
    if workdir is not None:
        parser.add_argument("--workdir", type=Path, default=Path(workdir), metavar="DIR", help="default: %(default)s")
    return parser


def read_result(path: Path) -> dict[str, Any]:
    """The content of a result file; {} where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


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

"""The files that an evaluation may replace: those of an earlier one, and no others."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.json_text import parse_json

LOCK = ".evaluation.lock"
"""Held while files are replaced; it stays, and says of those without a metrics.json that an evaluation wrote them."""
NEW = ".evaluation.new"
"""The folder beside it in which tables are written before they replace others."""


def check_targets(folder: Path, names: Sequence[str]) -> None:
    """Checks that the files to come may and can replace what stands in their place.

    Args:
      folder: of the results.
      names: relative paths; the last is the JSON file that vouches for the others.

    Raises:
      InputError: files of these names are no evaluation's, or a folder stands there.
    """
    for name in names:
        path = folder / name
        if path.is_dir():
            raise InputError(f"{path} is a folder; expected a file of an evaluation there, or nothing")
    there = [str(folder / name) for name in names if os.path.lexists(folder / name)]
    if there and not _is_of_evaluation(folder, folder / names[-1]):
        raise InputError(
            f"{', '.join(there[:3])}{f' and {len(there) - 3} more' if len(there) > 3 else ''} would be replaced, and "
            f"{names[-1]} does not say that an evaluation wrote them. Use another output folder, or move them away"
        )


def read_evaluation(path: Path) -> dict[str, Any] | None:
    """The content of the metrics.json of an evaluation; None where there is none, or one of somebody else."""
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("package") == "ddim_jax" else None


def _is_of_evaluation(folder: Path, voucher: Path) -> bool:
    if not os.path.lexists(voucher):
        return (folder / LOCK).exists()  # one ended while it replaced them
    return read_evaluation(voucher) is not None

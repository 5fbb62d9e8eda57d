"""pixels.csv of a run: digests of the pairs that it is trained on or validated with, and of its training images."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from ddim_jax.runtime.atomic import write_text

PIXELS = "pixels.csv"


def table_of(digests: Mapping[str, str], trained_on: Mapping[str, str] | None = None) -> str:
    """The text of the table; without `trained_on` with the columns id and sha256 alone.

    Args:
      digests: for each pair by name the SHA-256 of its pixels.
      trained_on: for each that is trained on that of its image alone (`ddim_jax.data.facts.image_digest`).
    """
    header, rows = ["id", "sha256"], [[name, digest] for name, digest in sorted(digests.items())]
    if trained_on is not None:
        header, rows = [*header, "trained_on"], [[*row, trained_on.get(row[0], "")] for row in rows]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def write_pixels(run: Path, digests: Mapping[str, str], trained_on: Mapping[str, str]) -> None:
    """Writes the table into the folder of a run; see `table_of`."""
    write_text(run / PIXELS, table_of(digests, trained_on))


def read_pixels(run: Path) -> dict[str, str] | None:
    """The digest of each pair of a run by name; None where the table cannot be read."""
    rows = _rows(run)
    return None if rows is None else {row["id"]: row["sha256"] for row in rows}


def read_trained_on(run: Path) -> dict[str, str]:
    """The digest of each image that a run was trained on, by name; none where they are not known."""
    return {row["id"]: digest for row in _rows(run) or () if (digest := row.get("trained_on"))}


def _rows(run: Path) -> list[dict[str, str]] | None:
    try:
        rows = list(csv.DictReader(io.StringIO((run / PIXELS).read_text(encoding="utf-8"), "")))
    except (OSError, ValueError, csv.Error):
        return None
    return rows if all({"id", "sha256"} <= row.keys() for row in rows) else None

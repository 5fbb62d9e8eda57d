"""The pixels that a run is trained on: their digests are kept with it, in pixels.csv, and compared when it goes on."""

import csv
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging

from ddim_jax.data.discovery import listed
from ddim_jax.runtime.atomic import write_text
from ddim_jax.runtime.errors import ConfigError

PIXELS = "pixels.csv"
PIXELS_FIELD = "pixels_sha256"
"""In the metadata of a checkpoint, section data: `digest_of` all pairs."""


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


def digest_of(digests: Mapping[str, str]) -> str:
    """One SHA-256 over the names and the digests of all pairs."""
    return hashlib.sha256(table_of(digests).encode()).hexdigest()


def check_same_pixels(saved: Mapping[str, Any], digests: Mapping[str, str], workdir: Path, *, refuse: bool) -> None:
    """Compares the pixels with those that the checkpoint with the metadata `saved` was trained on.

    Raises:
      ConfigError: they differ, and `refuse`; the pairs are named, up to ten. Otherwise that is logged.
    """
    before = saved["data"].get(PIXELS_FIELD)
    if before in (None, digest_of(digests)):
        return
    known = read_pixels(workdir)
    changed = []
    if known is not None and digest_of(known) == before:
        changed = [name for name in digests if known.get(name) != digests[name]]
    which = f"of {listed(changed)} ({len(changed)} of {len(digests)} pairs)" if changed else "of some pairs"
    text = f"{workdir} holds a run trained on other pixels: image or mask {which} changed since"
    if refuse:
        raise ConfigError(
            f"{text}. Bring the files back, or use another --workdir; data.same_pixels=false goes on with what is "
            "there now, as after a change of the library that decodes them."
        )
    logging.warning("%s; the run goes on with what is there now", text)


def _rows(run: Path) -> list[dict[str, str]] | None:
    try:
        rows = list(csv.DictReader(io.StringIO((run / PIXELS).read_text(encoding="utf-8"), "")))
    except (OSError, ValueError, csv.Error):
        return None
    return rows if all({"id", "sha256"} <= row.keys() for row in rows) else None

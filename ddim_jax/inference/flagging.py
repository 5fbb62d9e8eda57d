"""Which of the segmented images a person should look at."""

import csv
import math
import os
from collections.abc import Iterable, Mapping
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import Any

from absl import logging

from ddim_jax.io.atomic import atomic_path
from ddim_jax.io.errors import InputError

FLAGGED = "flagged.csv"
_FIELDS = ("name", "file", "doubt", "mean_uncertainty", "area")


def check_share(share: float) -> Fraction:
    """The share as the fraction that its digits say: 0.07 of 100 images are 7, in floating point a little more.

    Raises:
      InputError: it is not a number above 0 and below 1.
    """
    if isinstance(share, bool) or not isinstance(share, Real) or not 0 < share < 1:
        raise InputError(f"flag_uncertain is {share!r}; expected a share of the images, above 0 and below 1")
    return Fraction(str(share))


def check_doubts(index: Path, records: Iterable[Mapping[str, Any]], inputs: Iterable[str]) -> None:
    """Checks that all images of a folder can be ranked, once those among the inputs are segmented.

    Args:
      index: the file the records are from.
      records: of the images that were segmented.
      inputs: names of the images of this run, asked for only where a doubt is missing; those are segmented again.

    Raises:
      InputError: an image without a doubt is no input.
    """
    without = {record["name"]: record["file"] for record in records if "doubt" not in record}
    for name in inputs if without else ():
        without.pop(name, None)
    missing = list(without.values())
    if missing:
        raise InputError(
            f"{index}: {len(missing)} of its images, such as {missing[0]}, were segmented by an earlier version, which "
            "wrote no doubt down, and are not among the inputs. Give them as inputs too (they are segmented again), or "
            "use another output folder"
        )


def remove_list(folder: Path, *, replaced: bool) -> None:
    """Removes the list of an earlier run, which knows nothing of the images that are segmented now.

    Args:
      folder: the output folder.
      replaced: whether a new list is written at the end; if not, the removal is told.
    """
    path = folder / FLAGGED
    try:
        path.unlink()
    except FileNotFoundError:
        return
    if not replaced:
        logging.warning("%s: removed, for it lacks the images segmented now; ask for it again", path)


def flag(path: str | os.PathLike, records: Iterable[Mapping[str, Any]], share: float) -> int | None:
    """`write_flagged` of records that are not all in memory, and not all of them of this process.

    Returns:
      How many were flagged; None if there is no list yet, because another process was to segment an image again that
      has no doubt, and did not: that is told.
    """
    rows = [{field: record.get(field) for field in _FIELDS} for record in records]
    missing = [row["file"] for row in rows if row["doubt"] is None]
    if missing:
        logging.warning(
            "%s: not written, for %d images, such as %s, have no doubt: the process they belong to did not reach them; "
            "start again",
            path,
            len(missing),
            missing[0],
        )
        return None
    return write_flagged(path, rows, share)


def write_flagged(path: str | os.PathLike, records: Iterable[Mapping[str, Any]], share: float) -> int:
    """Writes the most doubtful images as a table, atomically.

    Columns: rank (from 1), name (of the results), file (the image), doubt (see `Segmentation`), mean_uncertainty and
    area (pixels of the mask). The most doubtful stand first; equal ones are in the order of their names.

    Args:
      path: of the CSV file.
      records: of the index, one for each image that was segmented.
      share: of the images that are flagged, above 0 and below 1; their number is rounded up.

    Returns:
      How many were flagged.

    Raises:
      InputError: the share is out of range.
    """
    ranked = sorted(records, key=lambda record: (-record["doubt"], record["name"]))
    flagged = ranked[: math.ceil(check_share(share) * len(ranked))]
    options = {"newline": "", "encoding": "utf-8", "errors": "backslashreplace"}  # names of files need not be UTF-8
    with atomic_path(path) as temporary, open(temporary, "w", **options) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("rank", *_FIELDS))
        writer.writerows((rank, *(record[field] for field in _FIELDS)) for rank, record in enumerate(flagged, start=1))
    return len(flagged)

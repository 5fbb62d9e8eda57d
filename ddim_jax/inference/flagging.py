"""Which of the segmented images a person should look at."""

import csv
import io
import json
import math
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import IO, Any

import numpy as np
from absl import logging

from ddim_jax.inference.digests import DIGEST, digest, find
from ddim_jax.runtime.atomic import atomic_path
from ddim_jax.runtime.errors import InputError

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


def check_doubts(index: Path, records: Callable[[], Iterable[Mapping[str, Any]]], inputs: Iterable[str]) -> None:
    """Checks that all images of a folder can be ranked, once those among the inputs are segmented.

    In memory are 17 bytes of each image without a doubt.

    Args:
      index: the file the records are from.
      records: gives those of the images that were segmented, each name once; called a second time for an error.
      inputs: names of the images of this run, asked for only where a doubt is missing; those are segmented again.

    Raises:
      InputError: an image without a doubt is no input.
    """
    digests = bytearray()
    for record in records():
        if "doubt" not in record:
            digests += digest(record["name"])
    if not digests:
        return
    without = np.frombuffer(digests, DIGEST)
    without.sort()
    given = np.zeros(len(without), bool)
    for name in inputs:
        place = find(without, name)
        if place is not None:
            given[place] = True
    missing = len(given) - np.count_nonzero(given)
    if missing:
        first = next(
            record["file"] for record in records() if "doubt" not in record and not given[find(without, record["name"])]
        )
        raise InputError(
            f"{index}: {missing} of its images, such as {first}, were segmented by an earlier version, which "
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


def write_flagged(path: str | os.PathLike, index: Path, share: float) -> int | None:
    """Writes the most doubtful images as a table, atomically.

    Columns: rank (from 1), name (of the results), file (the image), doubt (see `Segmentation`), mean_uncertainty and
    area (pixels of the mask). The most doubtful stand first; equal ones are in the order of their names.

    Of each image, its doubt and the place of its line are in memory, about 30 bytes while they are sorted. The lines of
    those that are flagged are read a second time.

    Args:
      path: of the CSV file.
      index: records as `ddim_jax.inference.parts.merge` leaves them: one line a name, in the order of the names; that
        of an image that failed is passed over. No file: no image.
      share: of the images that are flagged, above 0 and below 1; their number is rounded up.

    Returns:
      How many were flagged; None if there is no list yet, because another process was to segment an image again that
      has no doubt, and did not: that is told.

    Raises:
      InputError: the share is out of range.
    """
    share = check_share(share)
    with open(index, "rb") if index.exists() else io.BytesIO() as lines:
        doubts, starts = array("d"), array("Q")
        without, first = 0, None
        for start, record in _segmented(lines):
            if "doubt" in record:
                doubts.append(record["doubt"])
                starts.append(start)
            else:
                without, first = without + 1, first or record["file"]
        if without:
            logging.warning(
                "%s: not written, for %d images, such as %s, have no doubt: the process they belong to did not reach "
                "them; start again",
                path,
                without,
                first,
            )
            return None
        # Equal doubts keep their order, which is that of the names.
        ranked = np.argsort(-np.asarray(doubts), kind="stable")[: math.ceil(share * len(doubts))]
        options = {"newline": "", "encoding": "utf-8", "errors": "backslashreplace"}  # names of files need not be UTF-8
        with atomic_path(path) as temporary, open(temporary, "w", **options) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("rank", *_FIELDS))
            for rank, place in enumerate(ranked, start=1):
                lines.seek(starts[place])
                record = json.loads(lines.readline())
                writer.writerow((rank, *(record.get(field) for field in _FIELDS)))
    return len(ranked)


def _segmented(lines: IO[bytes]) -> Iterator[tuple[int, dict]]:
    """The records of the images that were segmented, each with the place of its line in the file."""
    start = 0
    for line in lines:
        record = json.loads(line)
        if record["status"] == "ok":
            yield start, record
        start += len(line)

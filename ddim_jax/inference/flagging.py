"""`flagged.csv`: the segmented images that a person should look at."""

import contextlib
import csv
import io
import itertools
import math
import os
from collections.abc import Iterable, Mapping
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import Any

from absl import logging

from ddim_jax.inference.index import has_doubt
from ddim_jax.inference.jobs import slice_name
from ddim_jax.inference.unlikeness import is_unlike
from ddim_jax.metrics import Bounds
from ddim_jax.runtime.atomic import write_text
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.printable import spreadsheet_cell

FLAGGED = "flagged.csv"
_FIELDS = ("name", "file", "slice", "doubt", "mean_uncertainty", "unlikeness", "area", "volume_ml")
_OF_SOME = ("slice", "volume_ml")  # left out where no image has them


def check_share(share: float) -> Fraction:
    """The share as the fraction that its digits say: 0.07 of 100 images are 7, in floating point a little more.

    Raises:
      InputError: it is not a number above 0 and below 1.
    """
    if isinstance(share, bool) or not isinstance(share, Real) or not 0 < share < 1:
        raise InputError(f"flag_uncertain is {share!r}; expected a share of the images, above 0 and below 1")
    return Fraction(str(share))


def keep_list(path: Path, why: str) -> None:
    """Renames a list that is there, flagged.1.csv and so on, for somebody may have written into it."""
    names = (f"{path.stem}.{number}{path.suffix}" for number in itertools.count(1))
    kept = next(path.with_name(name) for name in names if not os.path.lexists(path.with_name(name)))
    with contextlib.suppress(FileNotFoundError):  # no list, or another process was faster
        path.rename(kept)
        logging.warning("%s %s, and is kept as %s", path, why, kept)


def write_flagged(path: str | os.PathLike, records: Iterable[Mapping[str, Any]], share: float) -> int:
    """Writes the most doubtful images, then others that are unlike those of the calibration, as a table, atomically.

    Columns: rank (from 1), name (of the results) and file (the image), both as `spreadsheet_cell` has them, doubt (see
    `Segmentation`), mean_uncertainty, unlikeness (see `Segmentation`; empty: not judged) and area (pixels of the mask).
    Where there are sources of several images, slice follows file: the most doubtful one, as its results are named
    (`slice_name`), empty for the others and for results of earlier versions. Where there are volumes, volume_ml follows
    area, likewise. The most doubtful stand first, of both kinds; equal ones are in the order of their names. Of a
    calibrated run area_low, area_high, dice_low and unlike follow (True: these bounds are not made to hold for that
    image; empty: not judged), of several classes with `<class>_` in front; empty for a source of several images, whose
    slices have bounds of their own. Another list that is there is renamed (`keep_list`).

    Args:
      path: of the CSV file.
      records: of the index, one a name; those of images without results or a doubt of them are passed over.
      share: of the images that are flagged for their doubt, above 0 and below 1; their number is rounded up.

    Returns:
      How many were flagged.

    Raises:
      InputError: the share is out of range.
    """
    share = check_share(share)
    records = [_with_slice(record) for record in records if has_doubt(record)]
    fields = [name for name in _FIELDS if name not in _OF_SOME or any(name in record for record in records)]
    records.sort(key=lambda record: (-record["doubt"], record["name"]))
    count = math.ceil(share * len(records))
    flagged = records[:count] + [record for record in records[count:] if is_unlike(record.get("unlikeness"))]
    classes = max((tuple(record.get("bounds", {})) for record in records), key=len, default=())
    columns = [(name, field) for name in classes for field in Bounds._fields]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    titles = (field if len(classes) == 1 else f"{name}_{field}" for name, field in columns)
    writer.writerow(("rank", *fields, *titles))
    for rank, record in enumerate(flagged, start=1):
        name, picture, *others = (record.get(field) for field in fields)
        others += [record.get("bounds", {}).get(one, {}).get(field) for one, field in columns]
        writer.writerow((rank, spreadsheet_cell(name), spreadsheet_cell(picture), *others))
    path, table = Path(path), text.getvalue()
    if not path.is_file() or path.read_bytes() != table.encode():
        keep_list(path, "is another list than that of now")
        write_text(path, table)
    return len(flagged)


def _with_slice(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record of a source of several images with the name of its most doubtful one, of equal ones the first."""
    doubts = record.get("doubt_of_slices")
    return record | {"slice": slice_name(doubts.index(max(doubts)), len(doubts))} if doubts else record

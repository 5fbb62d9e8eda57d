"""`flagged.csv`: the segmented images that a person should look at."""

import csv
import math
import os
from collections.abc import Iterable, Mapping
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import Any

from absl import logging

from ddim_jax.inference.index import has_doubt
from ddim_jax.inference.unlikeness import is_unlike
from ddim_jax.metrics import Bounds
from ddim_jax.runtime.atomic import atomic_path
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.printable import spreadsheet_cell

FLAGGED = "flagged.csv"
_VOLUME = "volume_ml"
_FIELDS = ("name", "file", "doubt", "mean_uncertainty", "unlikeness", "area")


def check_share(share: float) -> Fraction:
    """The share as the fraction that its digits say: 0.07 of 100 images are 7, in floating point a little more.

    Raises:
      InputError: it is not a number above 0 and below 1.
    """
    if isinstance(share, bool) or not isinstance(share, Real) or not 0 < share < 1:
        raise InputError(f"flag_uncertain is {share!r}; expected a share of the images, above 0 and below 1")
    return Fraction(str(share))


def remove_list(folder: Path, *, replaced: bool) -> None:
    """Removes the list of an earlier run, which knows nothing of the images that are segmented now.

    Args:
      folder: the output folder.
      replaced: True if a new list is written at the end; if not, the removal is logged.
    """
    path = folder / FLAGGED
    try:
        path.unlink()
    except FileNotFoundError:
        return
    if not replaced:
        logging.warning("%s: removed, for it lacks the images segmented now; ask for it again", path)


def write_flagged(path: str | os.PathLike, records: Iterable[Mapping[str, Any]], share: float) -> int:
    """Writes the most doubtful images, then others that are unlike those of the calibration, as a table, atomically.

    Columns: rank (from 1), name (of the results) and file (the image), both as `spreadsheet_cell` has them, doubt (see
    `Segmentation`), mean_uncertainty, unlikeness (see `Segmentation`; empty: not judged) and area (pixels of the mask).
    Where there are volumes, volume_ml follows, empty for the others. The most doubtful stand first, of both kinds;
    equal ones are in the order of their names. Of a calibrated run
    area_low, area_high and dice_low follow, of several classes with `<class>_` in front; empty for a source of several
    images, whose slices have bounds of their own.

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
    records = [record for record in records if has_doubt(record)]
    fields = (*_FIELDS, _VOLUME) if any(_VOLUME in record for record in records) else _FIELDS
    records.sort(key=lambda record: (-record["doubt"], record["name"]))
    count = math.ceil(share * len(records))
    flagged = records[:count] + [record for record in records[count:] if is_unlike(record.get("unlikeness"))]
    classes = max((tuple(record.get("bounds", {})) for record in records), key=len, default=())
    columns = [(name, field) for name in classes for field in Bounds._fields]
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        titles = (field if len(classes) == 1 else f"{name}_{field}" for name, field in columns)
        writer.writerow(("rank", *fields, *titles))
        for rank, record in enumerate(flagged, start=1):
            name, picture, *numbers = (record.get(field) for field in fields)
            numbers += [record.get("bounds", {}).get(one, {}).get(field) for one, field in columns]
            writer.writerow((rank, spreadsheet_cell(name), spreadsheet_cell(picture), *numbers))
    return len(flagged)

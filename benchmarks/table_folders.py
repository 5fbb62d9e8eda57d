"""What the folders of the runs hold besides the rows of Table 1, above all the scores of single pictures.

With them, where a system was scored on part of a split, all others are compared with it on that very part.
"""

import csv
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.result_file import identity
from benchmarks.table_rows import IDENTITY, run_folder
from ddim_jax.metrics import bootstrap_interval

Row = Mapping[str, Any]
REFERENCE = "lightweight_ddim"
"""The system whose lead over each of the others is taken picture by picture."""
_COMPARED = tuple(name for name in IDENTITY if name != "system")


def picture_scores(row: Row, workdir: Path) -> dict[str, float] | None:
    """The Dice of every picture that a row is the mean of, by the picture's id.

    None where `workdir` does not hold them: no such run, or an evaluation that gives another mean (of other pictures,
    or of other settings).
    """
    path = run_folder(workdir, row) / "evaluation" / "test" / "per_image.csv"
    if not path.exists():
        return None
    with open(path, newline="", encoding="utf-8") as file:
        column = "dice" if row["protocol"] == "mean" else f"{row['protocol']}_dice"
        scores = {line["id"]: float(line[column]) for line in csv.DictReader(file)}
    same = len(scores) == row["n"] and math.isclose(statistics.fmean(scores.values()), row["dice_mean"], abs_tol=1e-9)
    return scores if same else None


def on_the_same_pictures(rows: Sequence[Row], workdir: Path, earlier: Iterable[Row] = ()) -> list[dict[str, Any]]:
    """For every part of a split that a row is limited to, the scores of the rows it is compared with on that part.

    Args:
      rows: of Table 1.
      workdir: of their runs.
      earlier: what this gave before; it stands where the scores of single pictures are no longer in `workdir`, as long
        as the run is the same.

    Returns:
      Entries with the fields that tell a row from another (`IDENTITY`), its settings, `n`, and `dice_mean` and
      `dice_ci` over the n pictures; the row that is limited to them has one itself. A system that was not scored on all
      of them has none.
    """
    known = {(identity(entry, IDENTITY), entry["settings"], entry["n"]): dict(entry) for entry in earlier}
    found = {}
    for part in rows:
        if part["n"] == part["n_in_split"]:
            continue
        chosen = picture_scores(part, workdir)
        for row in rows:
            if identity(row, _COMPARED) != identity(part, _COMPARED):
                continue
            key = identity(row, IDENTITY), row["settings"], part["n"]
            scores = picture_scores(row, workdir)
            if chosen is None or scores is None:
                if key in known:
                    found[key] = known[key]
            elif chosen.keys() <= scores.keys():
                values = [scores[name] for name in chosen]
                found[key] = {
                    **{name: row[name] for name in IDENTITY},
                    "settings": row["settings"],
                    "n": part["n"],
                    "dice_mean": statistics.fmean(values),
                    "dice_ci": list(bootstrap_interval(values)),
                }
    return list(found.values())


def leads(rows: Sequence[Row], workdir: Path, earlier: Iterable[Row] = ()) -> list[dict[str, Any]]:
    """By how much `REFERENCE` is ahead of each other system on the pictures that both were scored on, calibrated.

    The difference of two Dice of one picture varies far less than either, since hard pictures are hard for both.

    Args:
      rows, workdir, earlier: as for `on_the_same_pictures`.

    Returns:
      Entries with the fields that tell the other system's row (`IDENTITY`), its settings and the reference's, `n`, and
      `lead`, the mean of the differences, with `lead_ci`, their 95% bootstrap interval.
    """
    known = {
        (identity(entry, IDENTITY), entry["settings"], entry["reference_settings"]): dict(entry) for entry in earlier
    }
    found = []
    for own in rows:
        if own["system"] != REFERENCE or own["protocol"] != "calibrated":
            continue
        for row in rows:
            if row is own or identity(row, _COMPARED) != identity(own, _COMPARED):
                continue
            key = identity(row, IDENTITY), row["settings"], own["settings"]
            scores, others = picture_scores(own, workdir), picture_scores(row, workdir)
            if scores is None or others is None:
                found += [known[key]] if key in known else []
                continue
            differences = [scores[name] - others[name] for name in scores.keys() & others.keys()]
            if differences:
                about = {name: row[name] for name in IDENTITY}
                about |= {"settings": row["settings"], "reference_settings": own["settings"], "n": len(differences)}
                interval = list(bootstrap_interval(differences))
                found.append(about | {"lead": statistics.fmean(differences), "lead_ci": interval})
    return found


def completed(row: Row, workdir: Path) -> dict[str, Any]:
    """The row with `dice_single` and `clip_x0`, which rows did not always have.

    They are filled in where the metrics.json of the row's very evaluation is in `workdir` and has them.
    """
    path = run_folder(workdir, row) / "evaluation" / "test" / "metrics.json"
    if {"dice_single", "clip_x0"} <= row.keys() or not path.exists():
        return dict(row)
    metrics = json.loads(path.read_text(encoding="utf-8"))
    scores = metrics["protocols"][row["protocol"]]["per_image"]
    if (scores["dice"]["mean"], metrics["images"]) != (row["dice_mean"], row["n"]):  # scored again since
        return dict(row)
    clip = {"clip_x0": metrics["clip_x0"]} if "clip_x0" in metrics else {}
    return {"dice_single": scores["dice_single"]["mean"], **clip, **row}

"""The scores of whole volumes: the pixels of all slices of one counted together, as Dice in three dimensions is."""

import csv
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ddim_jax.aggregation import PROTOCOLS
from ddim_jax.evaluation.scoring import ImageResult, Score
from ddim_jax.metrics import Counts, measure_counts
from ddim_jax.runtime.atomic import atomic_path
from ddim_jax.runtime.printable import spreadsheet_cell


class VolumeResult(NamedTuple):
    """One volume of the data set.

    Attributes:
      name: in the data set.
      group: that it is drawn with for intervals, such as its patient.
      slices: their number.
      scores: by the name of the protocol; `measures` are those that pixel counts give.
    """

    name: str
    group: str
    slices: int
    scores: dict[str, Score]


def score_volumes(results: Sequence[ImageResult]) -> list[VolumeResult]:
    """The volumes all of whose slices are among the results, in their order; none of images by themselves.

    A volume of which slices are missing, as with a limit, is left out: its score would be that of a part.
    """
    slices: dict[str, list[ImageResult]] = {}
    for result in results:
        if result.volume is not None:
            slices.setdefault(result.volume.name, []).append(result)
    return [
        VolumeResult(
            name,
            own[0].group or name,
            len(own),
            {protocol: _pooled([one.scores[protocol] for one in own]) for protocol in PROTOCOLS},
        )
        for name, own in slices.items()
        if len(own) == own[0].volume.slices
    ]


def write_per_volume(path: str | os.PathLike, volumes: Sequence[VolumeResult]) -> None:
    """Writes one row per volume, atomically.

    Columns: volume (as `spreadsheet_cell` has it), slices, then the measures and the four pixel counts as in
    `ddim_jax.evaluation.tables.write_per_image`.
    """
    fields = [*volumes[0].scores["mean"].measures, *Counts._fields]
    of_classes = [f"{one}_{field}" for one in volumes[0].scores["mean"].classes for field in fields]
    header = ["volume", "slices"]
    for name in PROTOCOLS:
        header += [field if name == "mean" else f"{name}_{field}" for field in [*fields, *of_classes]]
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for volume in volumes:
            row = [spreadsheet_cell(volume.name), volume.slices]
            for name in PROTOCOLS:
                for score in (volume.scores[name], *volume.scores[name].classes.values()):
                    row += [*score.measures.values(), *score.counts]
            writer.writerow(row)


def _pooled(scores: Sequence[Score]) -> Score:
    """The score of the summed counts; of several classes the mean of theirs."""
    counts = sum((score.counts for score in scores), Counts(0, 0, 0, 0))
    if not scores[0].classes:
        return Score(counts, measure_counts(counts))
    classes = {one: _pooled([score.classes[one] for score in scores]) for one in scores[0].classes}
    names = next(iter(classes.values())).measures
    return Score(
        counts, {name: float(np.mean([own.measures[name] for own in classes.values()])) for name in names}, classes
    )

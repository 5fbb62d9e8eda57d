"""docs/results.md from docs/results/table1.json and table2.json; a function of these two files alone."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import table
from benchmarks.paper_figures import DATASETS, NOTES, TABLE_1, TABLE_2
from benchmarks.results_figure import draw_table
from configs.table1 import SYSTEMS
from ddim_jax.io.atomic import write_text

Row = Mapping[str, Any]
_GROUP = ("dataset", "size", "networks", "device", "budget_s")
"""Rows that agree in all of this stand in one table; what is compared is compared within it."""

_LATE = 1.2
"""A training that took so many times its budget is told."""

_INTRODUCTION = """\
# The four systems under one budget

Written by `python -m benchmarks.report` from `docs/results/table1.json` and `table2.json`, which
`python -m benchmarks.table1` and `python -m benchmarks.table2` measure; do not edit.

**What can be compared:** the rows of one table. They share pictures and split, size, device, augmentation,
optimiser and schedule, and a number of steps meant to fit the budget; the height of the learning rate is each system's
own. **What cannot:** a row and
the paper's figure beside it. The paper has other data, pictures of another size and 2000 epochs; "small" networks are
not its networks either. Tables of different titles differ in what the titles say.

- The budget is seconds of training steps. Compilation, validation, checkpoints and evaluation are not counted. A short
  trial measures the time of a step, at its fastest, and says how many steps fit; those are made, however long they
  take. "trained" is what they took in the end: far from the budget, other work held the machine up.
- The weights are those with the highest Dice on the validation split; the test split chooses nothing here. The configs
  were chosen for the lightweight network predicting the mask, earlier partly with sight of test scores on lungs
  ([results](results/README.md)), then on the validation split of the polyps ([few_steps.md](few_steps.md)); the other
  systems had no such attention, but for two learning rates of the U-Net.
- `_noise` is the paper's way: the network predicts the noise, 50 steps x 5 samples. Without it, `lightweight_ddim` and
  `ddim` predict the mask itself, in few steps, and their samples see the picture mirrored in turn, as the U-Net's do;
  "paper" is then the paper's threshold, not the paper's ensemble.
- "calibrated" and "paper" are two protocols on the same samples: their mean cut at 0.5; their mean, stretched to
  [0, 1], cut at 0.9. Dice and recall are means over pictures, "pooled" is one Dice over the pixels of all pictures.
- ECE is the expected calibration error over all pixels; "Dice of 80%" that of the four fifths of the pictures whose
  masks are the least doubtful (both calibrated).
- With one seed, the brackets are a 95% bootstrap interval over the test pictures and say nothing of another training.
  With more, +- is the standard deviation over the seeds.
"""

_COLUMNS_1 = (
    *("system", "Dice, calibrated", "recall", "pooled", "Dice, paper", "recall", "pooled"),
    *("ECE", "Dice of 80%", "pictures", "seeds"),
)
_COLUMNS_COST = ("system", "parameters", "trained", "steps", "epochs", "evaluations a picture", "s a picture")
_COLUMNS_2 = (
    "system",
    "parameters",
    "weights, MiB",
    "sampling",
    "steps timed",
    "s a picture",
    "peak MiB",
    "paper: MB, s",
)


def write(root: Path) -> Path | None:
    """Writes `root`/docs/results.md with its figures; None, and nothing is written, where there is no table1.json."""
    folder = root / "docs" / "results"
    if not (folder / "table1.json").exists():
        return None
    second = folder / "table2.json"
    table1 = _rows(folder / "table1.json")
    page = results_page(table1, _rows(second) if second.exists() else [])
    for figure, rows in figures(table1).items():
        draw_table(folder / figure, rows)
    write_text(root / "docs" / "results.md", page)
    return root / "docs" / "results.md"


def results_page(table1: Sequence[Row], table2: Sequence[Row]) -> str:
    """The page for the rows of the two tables."""
    parts = [_INTRODUCTION, "## Table 1: recall and Dice\n"]
    parts.append(
        "Of the paper's Table 1 only some cells are known here; the others are left empty, MedSegDiff's among them.\n"
    )
    for figure, rows in figures(table1).items():
        parts.append(f"![Dice of the systems, {rows[0]['networks']} networks](results/{figure})\n")
        for group in _distinct(tuple(row[name] for name in _GROUP) for row in rows):
            parts += _comparison([row for row in rows if tuple(row[name] for name in _GROUP) == group])
    if table2:
        parts.append("## Table 2: memory and time at full size\n")
        parts += _costs(table2)
    return "\n".join(parts)


def figures(table1: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of Table 1 by the figure that shows them: all data sets of one size, networks, device and budget."""
    fields = [name for name in _GROUP if name != "dataset"]
    groups = _distinct(tuple(row[name] for name in fields) for row in table1)
    return {
        f"table1_{number}.png": [row for row in table1 if tuple(row[name] for name in fields) == group]
        for number, group in enumerate(groups, start=1)
    }


def _comparison(rows: Sequence[Row]) -> list[str]:
    """The two tables of one group."""
    first = rows[0]
    dataset = first["dataset"]
    title = f"### {dataset}, {first['size']} x {first['size']}, {first['networks']} networks, {first['budget_s']:g} s"
    known = dataset in DATASETS
    header = (*_COLUMNS_1, f"the paper's Dice ({DATASETS[dataset]})") if known else _COLUMNS_1
    scores, costs, notes = [], [], []
    for system in SYSTEMS:
        own = [row for row in rows if row["system"] == system]
        if not own:
            continue
        cells = [f"`{system}`"]
        for protocol in ("calibrated", "paper"):
            seeds = [row for row in own if row["protocol"] == protocol]
            cells += [_dice(seeds), _mean(seeds, "recall_mean"), _mean(seeds, "dice_pooled")]
        one = [row for row in own if row["protocol"] == "calibrated"]
        cells += [_mean(one, "ece"), _mean(one, "kept_dice"), _pictures(one[0]), str(len(one))]
        if known:
            cells.append(_paper_cell(system, dataset))
        scores.append(cells)
        evaluations = one[0]["sampling_steps"] * one[0]["samples"]
        costs.append(
            [
                f"`{system}`",
                f"{one[0]['parameters']:,}",
                f"{statistics.fmean(row['train_s'] for row in one):.0f} s",
                f"{statistics.fmean(row['steps'] for row in one):.0f}",
                f"{statistics.fmean(row['epochs'] for row in one):.1f}",
                f"{one[0]['sampling_steps']} x {one[0]['samples']} = {evaluations}",
                _seconds([row["seconds_per_image"] for row in one]),
            ]
        )
        if (system, dataset) in NOTES:
            notes.append(f"`{system}`: {NOTES[system, dataset]}\n")
    dtypes = ", ".join(sorted({row["dtype"] for row in rows}))
    parts = [title + "\n", f"On {first['device']}, {dtypes}.\n", table(header, scores), ""]
    missing = [f"`{system}`" for system in SYSTEMS if all(row["system"] != system for row in rows)]
    if missing:
        parts.append(f"Not measured: {', '.join(missing)}.\n")
    if any(row["n"] < row["n_in_split"] for row in rows):
        parts.append("Where fewer pictures than all were scored, they are spread evenly over the split.\n")
    late = [
        f"`{row['system']}` {row['train_s']:.0f} s"
        for row in rows
        if row["protocol"] == "calibrated" and row["train_s"] > _LATE * row["budget_s"]
    ]
    if late:
        notes.append(
            f"**Not trained in {first['budget_s']:g} s** but in: {', '.join(late)}. Their steps are what a short trial "
            "said would fit; the machine was slower in the training, as it is with other work beside it.\n"
        )
    return [*parts, *notes, "What the budget bought:\n", table(_COLUMNS_COST, costs), ""]


def _costs(rows: Sequence[Row]) -> list[str]:
    """Table 2: one table for each device, size and number format."""
    parts = []
    for device, size, dtype in _distinct((row["device"], row["size"], row["dtype"]) for row in rows):
        own = [row for row in rows if (row["device"], row["size"], row["dtype"]) == (device, size, dtype)]
        lines = []
        for row in sorted(own, key=lambda row: SYSTEMS.index(row["system"])):
            paper = TABLE_2.get(row["system"], {})
            lines.append(
                [
                    f"`{row['system']}`",
                    f"{row['parameters']:,}",
                    f"{row['weights_bytes'] / 2**20:.1f}",
                    f"{row['sampling_steps']} x {row['samples']}",
                    f"{row['timed_steps']}",
                    f"{row['seconds']:.2f}",
                    f"{row['peak_bytes'] / 2**20:.0f}",
                    ", ".join(paper[name] for name in ("file_mb", "seconds") if name in paper),
                ]
            )
        parts += [f"### {device}, {size} x {size}, {dtype}\n", table(_COLUMNS_2, lines), ""]
        if any(row["timed_steps"] < row["sampling_steps"] for row in own):
            parts.append('The time is that of as many steps as "steps timed" says, not of the whole sampling.\n')
    parts.append(
        "One picture with all its samples, sampled as the system does (steps x samples), with untrained weights; each "
        "system in a process of its own. Memory on a CPU is what was resident beyond the libraries, on a GPU the most "
        "that JAX had allocated. The paper's times are of another machine.\n"
    )
    return parts


def _dice(seeds: Sequence[Row]) -> str:
    mean = statistics.fmean(row["dice_mean"] for row in seeds)
    if len(seeds) == 1:
        low, high = seeds[0]["dice_ci"]
        return f"{mean:.4f} [{low:.4f}, {high:.4f}]"
    return f"{mean:.4f} +- {statistics.stdev(row['dice_mean'] for row in seeds):.4f}"


def _mean(seeds: Sequence[Row], name: str) -> str:
    if any(name not in row for row in seeds):  # measured before there was such a field
        return ""
    return f"{statistics.fmean(row[name] for row in seeds):.4f}"


def _pictures(row: Row) -> str:
    return str(row["n"]) if row["n"] == row["n_in_split"] else f"{row['n']} of {row['n_in_split']}"


def _seconds(values: Iterable[float | None]) -> str:
    measured = [value for value in values if value is not None]
    return f"{statistics.median(measured):.3g}" if measured else ""


def _paper_cell(system: str, dataset: str) -> str:
    known = TABLE_1.get((system, dataset), {})
    recall = f" (recall {known['recall']})" if "recall" in known else ""
    return known.get("dice", "") + recall


def _distinct(values: Iterable[tuple]) -> list[tuple]:
    return list(dict.fromkeys(values))


def _rows(path: Path) -> list[Row]:
    return json.loads(path.read_text(encoding="utf-8"))["rows"]

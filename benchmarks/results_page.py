"""docs/results.md from docs/results/table1.json and table2.json; a function of these two files alone."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import table
from benchmarks.paper_figures import DATASETS, NOTES, TABLE_1
from benchmarks.results_costs import costs_section
from benchmarks.results_figure import draw_table
from benchmarks.results_notes import (
    GROUP,
    commands,
    differences,
    distinct,
    far_from_budget,
    limited,
    of_one_state,
    software,
)
from benchmarks.table_folders import REFERENCE
from configs.table1 import SYSTEMS
from ddim_jax.runtime.atomic import write_text

Row = Mapping[str, Any]
_INTRODUCTION = """\
# The four systems under one budget

Written by `python -m benchmarks.report` from `docs/results/table1.json` and `table2.json`, which
`python -m benchmarks.table1` and `python -m benchmarks.table2` measure; do not edit.

**What can be compared:** the lines of one table that were scored on all test pictures. Data set, size, networks, device
and budget are in its title; `configs/table1.py` ("small") and `configs/table1_gpu.py` ("full") have what else the
trainings share, and what not. **What cannot:** a line and the paper's figure beside it. The paper has other data,
pictures of another size and 2000 epochs; "small" networks are not its networks either. Tables of different titles
differ in what the titles say.

- The budget is seconds of training steps. Compilation, validation, checkpoints and evaluation are not counted. A short
  trial measures the time of a step and says how many steps fit; those are made, however long they take. "trained" is
  what they took in the end.
- The weights are those of the checkpoint with the highest Dice on the validation split ("picked at" its step). For that
  Dice each picture is sampled once, by DDIM with `train.validation_steps` steps, whatever the sampler, the steps and
  the samples of the test. The test split chooses nothing here. The configs were chosen for the lightweight network
  predicting the mask, earlier partly with sight of test scores on lungs ([results](results/README.md)), then on the
  validation split of the polyps ([few_steps.md](few_steps.md)); the other systems had no such attention, but for two
  learning rates of the U-Net.
- `_noise` is the paper's way: the network predicts the noise. Without it, `lightweight_ddim` and `ddim` predict the
  mask itself. Where the samples see the picture mirrored in turn ("mirrored"), "paper" is the paper's threshold, not
  the paper's ensemble. "x_0 clipped": at every step of sampling the estimate of the mask is held within +- that much.
- "calibrated" and "paper" are two protocols on the same samples: their mean cut at 0.5; their mean, stretched to
  [0, 1], cut at 0.9. Dice and recall are means over pictures, "pooled" is one Dice over the pixels of all pictures,
  "one sample" the Dice of a single sample, calibrated.
- ECE is the expected calibration error over all pixels; "Dice of 80%" that of the four fifths of the pictures whose
  masks are the least doubtful (both calibrated).
- With one seed, the brackets are a 95% bootstrap interval over the test pictures and say nothing of another training.
  With more, +- is the standard deviation over the seeds.
- An empty cell, but in the column of the paper, was not recorded.
"""

_COLUMNS_1 = (
    *("system", "Dice, calibrated", "recall", "pooled", "one sample", "Dice, paper", "recall", "pooled"),
    *("ECE", "Dice of 80%", "pictures", "seeds"),
)
_COLUMNS_COST = (
    *("system", "parameters", "learning rate", "trained", "steps", "epochs", "picked at", "x_0 clipped"),
    *("evaluations a picture", "s a picture"),
)


def write(root: Path) -> Path | None:
    """Writes `root`/docs/results.md with its figures; None, and nothing is written, where there is no table1.json."""
    folder = root / "docs" / "results"
    if not (folder / "table1.json").exists():
        return None
    first, second = _read(folder / "table1.json"), folder / "table2.json"
    page = results_page(
        first["rows"],
        _read(second)["rows"] if second.exists() else [],
        first.get("on_the_same_pictures", []),
        first.get("leads", []),
    )
    for figure, rows in figures(of_one_state(first["rows"])[0]).items():
        draw_table(folder / figure, rows)
    write_text(root / "docs" / "results.md", page)
    return root / "docs" / "results.md"


def results_page(
    table1: Sequence[Row], table2: Sequence[Row], parts: Sequence[Row] = (), leads: Sequence[Row] = ()
) -> str:
    """The page for the rows of the two tables, the scores on part of a test split and the leads, picture by picture."""
    sections = [_INTRODUCTION, "## Table 1: recall and Dice\n"]
    sections.append(
        "Of the paper's Table 1 only some cells are known here; the others are left empty, MedSegDiff's among them.\n"
    )
    kept, left_out = of_one_state(table1)
    for figure, rows in figures(kept).items():
        sections.append(f"![Dice of the systems, {rows[0]['networks']} networks](results/{figure})\n")
        made = "\n".join(commands(rows))
        sections.append(f"Made by the following, with `--data` the folders of the data sets:\n\n```sh\n{made}\n```\n")
        sections += differences(rows)
        for group in distinct(_group(row) for row in rows):
            sections += _comparison(*([row for row in some if _group(row) == group] for some in (rows, parts, leads)))
    sections += left_out
    return "\n".join([*sections, *costs_section(table2)])


def figures(table1: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of Table 1 by the figure that shows them: all data sets of one size, networks, device and budget."""
    fields = [name for name in GROUP if name != "dataset"]
    groups = distinct(tuple(row[name] for name in fields) for row in table1)
    return {
        f"table1_{number}.png": [row for row in table1 if tuple(row[name] for name in fields) == group]
        for number, group in enumerate(groups, start=1)
    }


def _comparison(rows: Sequence[Row], parts: Sequence[Row], leads: Sequence[Row]) -> list[str]:
    """The tables of one group."""
    first = rows[0]
    dataset = first["dataset"]
    title = f"### {dataset}, {first['size']} x {first['size']}, {first['networks']} networks, {first['budget_s']:g} s"
    known = dataset in DATASETS
    header = (*_COLUMNS_1, f"the paper's Dice ({DATASETS[dataset]})") if known else _COLUMNS_1
    scores, costs, notes = [], [], []
    for system in SYSTEMS:
        own = {name: _of(rows, system, name) for name in ("calibrated", "paper")}
        one = own["calibrated"]
        if not one:
            continue
        cells = [f"`{system}`"]
        for protocol, seeds in own.items():
            cells += [_dice(seeds), _mean(seeds, "recall_mean"), _mean(seeds, "dice_pooled")]
            cells += [_mean(seeds, "dice_single")] if protocol == "calibrated" else []
        cells += [_mean(one, "ece"), _mean(one, "kept_dice"), _pictures(one[0]), str(len(one))]
        scores.append([*cells, _paper_cell(system, dataset)] if known else cells)
        costs.append(_cost(system, one))
        if (system, dataset) in NOTES:
            notes.append(f"`{system}`: {NOTES[system, dataset]}\n")
    dtypes = ", ".join(sorted({row["dtype"] for row in rows}))
    on = ", ".join(filter(None, (first["device"], dtypes, software(rows))))
    missing = [f"`{system}`" for system in SYSTEMS if all(row["system"] != system for row in rows)]
    found = [title + "\n", f"On {on}.\n", table(header, scores), ""]
    if missing:
        found.append(f"Not measured: {', '.join(missing)}.\n")
    if limited(rows):
        found += [limited(rows), *_same_pictures(rows, parts)]
    found += _leads(rows, leads)
    found += [text for text in (far_from_budget(rows), *notes) if text]
    return [*found, "What the budget bought:\n", table(_COLUMNS_COST, costs), ""]


def _same_pictures(rows: Sequence[Row], parts: Sequence[Row]) -> list[str]:
    """For each part of the split that a system is limited to, a table of all systems on it."""
    there = {(row["system"], row["seed"], row.get("settings")) for row in rows}
    own = [part for part in parts if (part["system"], part["seed"], part["settings"]) in there]
    found = []
    for n in distinct(row["n"] for row in rows if row["n"] < row["n_in_split"]):
        lines, missing = [], []
        for system in distinct(row["system"] for row in rows):
            seeds = [_of([part for part in own if part["n"] == n], system, name) for name in ("calibrated", "paper")]
            if all(seeds):
                lines.append([f"`{system}`", *map(_dice, seeds), str(len(seeds[0]))])
            else:
                missing.append(f"`{system}`")
        if lines:
            lines.sort(key=lambda line: SYSTEMS.index(line[0].strip("`")))
            header = ("system", "Dice, calibrated", "Dice, paper", "seeds")
            found += [f"All systems on the same {n} pictures:\n", table(header, lines), ""]
        if missing:
            found.append(f"Their scores on those {n} pictures are not known here: {', '.join(missing)}.\n")
    return found


def _leads(rows: Sequence[Row], leads: Sequence[Row]) -> list[str]:
    """By how much the lightweight network is ahead of each other system, as far as the rows are those compared."""
    own = {row["seed"]: row.get("settings") for row in rows if row["system"] == REFERENCE}
    there = {(row["system"], row["seed"], row.get("settings")) for row in rows}
    lines = [
        [
            f"`{lead['system']}`",
            f"{lead['lead']:+.4f} [{lead['lead_ci'][0]:+.4f}, {lead['lead_ci'][1]:+.4f}]",
            str(lead["n"]),
            str(lead["seed"]),
        ]
        for lead in leads
        if (lead["system"], lead["seed"], lead["settings"]) in there
        and own.get(lead["seed"]) == lead["reference_settings"]
    ]
    if not lines:
        return []
    header = (f"`{REFERENCE}` is ahead of", "by, calibrated Dice", "pictures", "seed")
    return ["Picture by picture, with the bootstrap interval of the differences:\n", table(header, lines), ""]


def _cost(system: str, seeds: Sequence[Row]) -> list[str]:
    """What one system was trained with and how it is sampled."""
    first = seeds[0]
    evaluations = f"{first['sampling_steps']} x {first['samples']} = {first['sampling_steps'] * first['samples']}"
    return [
        f"`{system}`",
        f"{first['parameters']:,}",
        _each(seeds, "learning_rate"),
        f"{statistics.fmean(row['train_s'] for row in seeds):.0f} s",
        f"{statistics.fmean(row['steps'] for row in seeds):.0f}",
        f"{statistics.fmean(row['epochs'] for row in seeds):.1f}",
        _each(seeds, "picked_step"),
        _each(seeds, "clip_x0"),
        evaluations + (", mirrored" if first.get("flips") else ""),
        _seconds([row["seconds_per_image"] for row in seeds]),
    ]


def _of(rows: Sequence[Row], system: str, protocol: str) -> list[Row]:
    return [row for row in rows if (row["system"], row["protocol"]) == (system, protocol)]


def _each(seeds: Sequence[Row], name: str) -> str:
    """The values of the seeds, each once; None is "no"."""
    values = distinct(row[name] for row in seeds if name in row)
    return ", ".join("no" if value is None else str(value) for value in values)


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


def _group(row: Row) -> tuple:
    return tuple(row[name] for name in GROUP)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))

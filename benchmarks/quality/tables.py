"""The tables of the comparison of the systems, and of the doubts and bounds of the packaged networks."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.quality.figures import table1_figures
from benchmarks.result_file import read_result, read_rows
from benchmarks.tables import Columns, Row, distinct, of_commit, table
from configs.table1 import SYSTEMS


def table1(root: Path) -> str:
    """Recall and Dice of all systems, a section for each data set of docs/results/table1.json."""
    result = read_result(root / "docs" / "results" / "table1.json")
    parts = []
    for comparison in table1_figures(_of_one_state(result["rows"])).values():
        for dataset in distinct(row["dataset"] for row in comparison):
            rows = [row for row in comparison if row["dataset"] == dataset]
            parts += _dataset(dataset, rows, result["on_the_same_pictures"], result["leads"])
    return "\n".join(parts)


def _of_one_state(rows: Sequence[Row]) -> list[Row]:
    """The rows with the settings of the last row of their data set and system: only such are seeds of one thing."""
    last = {_place(row): row["settings"] for row in rows}
    return [row for row in rows if row["settings"] == last[_place(row)]]


def _place(row: Row) -> tuple:
    return tuple(row[name] for name in ("dataset", "size", "networks", "device", "budget_s", "system"))


def _dataset(dataset: str, rows: Sequence[Row], parts: Sequence[Row], leads: Sequence[Row]) -> list[str]:
    first, there = rows[0], {(row["system"], row["seed"], row["settings"]) for row in rows}

    def of(known: Sequence[Row]) -> list[Row]:
        """The entries about these very rows."""
        about = [one for one in known if all(one[name] == first[name] for name in ("dataset", "size", "budget_s"))]
        return [one for one in about if (one["system"], one["seed"], one["settings"]) in there]

    code = distinct(of_commit(row) for row in rows)
    scored = _by_system(rows)
    text = [
        f"### {dataset}, {first['size']} x {first['size']}, {first['networks']} networks, {first['budget_s']:g} s\n",
        f"On {'; '.join([first['device'], first['dtype'], *code])}.\n",
        table(_SCORES, scored),
    ]
    missing = [f"`{system}`" for system in SYSTEMS if all(row["system"] != system for row in rows)]
    if missing:
        text.append(f"Not measured: {', '.join(missing)}.\n")
    for n in distinct(row["n"] for row in rows if row["n"] < row["n_in_split"]):
        same = [part for part in of(parts) if part["n"] == n]
        dice = "; ".join(f"`{row['system']}` {_dice('mean')(row)}" for row in _by_system(same))
        text.append(f"Dice, cut at 0.5, of all systems on the same {n} images: {dice}.\n")
    text += [
        "Image by image, with the bootstrap interval of the differences:\n",
        table(_LEADS, of(leads)),
        "What the budget bought:\n",
        table(_COSTS, scored),
    ]
    return text


def _by_system(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For each system one row: that of its first seed, with all its rows in `mean` and `paper_protocol`."""
    found = []
    for system in sorted(distinct(row["system"] for row in rows), key=SYSTEMS.index):
        own = {name: [r for r in rows if (r["system"], r["protocol"]) == (system, name)] for name in ("mean", "paper")}
        found.append({**own["mean"][0], "by": own, "seeds": len(own["mean"])})
    return found


def _dice(protocol: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        seeds = row["by"][protocol]
        mean = statistics.fmean(one["dice_mean"] for one in seeds)
        if len(seeds) == 1:
            return "{:.4f} [{:.4f}, {:.4f}]".format(mean, *seeds[0]["dice_ci"])
        return f"{mean:.4f} +- {statistics.stdev(one['dice_mean'] for one in seeds):.4f}"

    return cell


def _over_seeds(field: str, form: str = "{:.4f}", protocol: str = "mean") -> Callable[[Row], str]:
    return lambda row: form.format(statistics.fmean(one[field] for one in row["by"][protocol]))


def _each(field: str) -> Callable[[Row], str]:
    """The values of the seeds, each once; None is "no"."""
    return lambda row: ", ".join(
        "no" if value is None else str(value) for value in distinct(one[field] for one in row["by"]["mean"])
    )


_SYSTEM: Columns = {"system": "`{system}`"}
_SCORES: Columns = _SYSTEM | {
    "Dice, cut at 0.5": _dice("mean"),
    "recall": _over_seeds("recall_mean"),
    "pooled Dice": _over_seeds("dice_pooled"),
    "Dice of one sample": _over_seeds("dice_single"),
    "Dice, cut at 0.9": _dice("paper"),
    "recall, cut at 0.9": _over_seeds("recall_mean", protocol="paper"),
    "pooled Dice, cut at 0.9": _over_seeds("dice_pooled", protocol="paper"),
    "ECE": _over_seeds("ece"),
    "Dice, 20% most doubtful removed": _over_seeds("kept_dice"),
    "images": lambda row: "{n}".format(**row) + ("" if row["n"] == row["n_in_split"] else f" of {row['n_in_split']}"),
    "seeds": "{seeds}",
}
_COSTS: Columns = _SYSTEM | {
    "parameters": "{parameters:,}",
    "learning rate": _each("learning_rate"),
    "training time": _over_seeds("train_s", "{:.0f} s"),
    "steps": _over_seeds("steps", "{:.0f}"),
    "epochs": _over_seeds("epochs", "{:.1f}"),
    "step picked": _each("picked_step"),
    "x_0 clipped": _each("clip_x0"),
    "network evaluations for an image": lambda row: (
        f"{row['sampling_steps']} x {row['samples']} = {row['sampling_steps'] * row['samples']}"
        + (", mirrored" if row["flips"] else "")
    ),
    "time of an image": _over_seeds("seconds_per_image", "{:.3g} s"),
}
_LEADS: Columns = {
    "`lightweight_ddim` is ahead of": "`{system}`",
    "by, Dice": "{lead:+.4f} [{lead_ci[0]:+.4f}, {lead_ci[1]:+.4f}]",
    "images": "{n}",
    "seed": "{seed}",
}


_PAPER = {
    "unet": "96.6, 92.8, .22",
    "medsegdiff": "226.6, 226.0, 356.16",
    "ddim_noise": "871.2, 433.0, 8.27",
    "lightweight_ddim_noise": "88.3, 84.6, 5.80",
}
"""Table 2 of the paper as printed, by system of ours."""


def table2(root: Path) -> str:
    """Memory and time of one image, from docs/results/table2.json."""
    rows = read_rows(root / "docs" / "results" / "table2.json")
    columns = _SYSTEM | {
        "parameters": "{parameters:,}",
        "weights, MiB": lambda row: f"{row['weights_bytes'] / 2**20:.1f}",
        "sampling": "{sampling_steps} x {samples}",
        "steps timed": "{timed_steps}",
        "s, of the steps timed": "{seconds:.2f}",
        "computed: s an image": lambda row: (
            f"{row['seconds'] * row['sampling_steps'] / row['timed_steps']:.0f}"
            if row["timed_steps"] < row["sampling_steps"]
            else ""
        ),
        "peak MiB": lambda row: f"{row['peak_bytes'] / 2**20:.0f}",
        "paper: cost MB, file MB, s": lambda row: _PAPER.get(row["system"], ""),
    }
    text = []
    for device, size, dtype in distinct((row["device"], row["size"], row["dtype"]) for row in rows):
        own = [row for row in rows if (row["device"], row["size"], row["dtype"]) == (device, size, dtype)]
        own.sort(key=lambda row: SYSTEMS.index(row["system"]))
        text += [f"### {device}, {size} x {size}, {dtype}\n", table(columns, own)]
        text.append(f"Code: {'; '.join(distinct(of_commit(row) for row in own))}.\n")
    return "\n".join(text)


def doubts(root: Path) -> str:
    """The mean doubt of the packaged networks beside what they miss, of docs/results/pretrained/*.json."""
    rows = []
    for about, metrics in _pretrained(root):
        missed = 1 - metrics["protocols"]["mean"]["per_image"]["dice"]["mean"]
        rows.append(about | metrics["doubt"] | {"missed": missed})
    return table(_DOUBTS, rows)


def bounds(root: Path) -> str:
    """The share of images, not calibrated on, that the bounds of the packaged networks hold for, of the same files."""
    rows = []
    for about, metrics in _pretrained(root):
        if not metrics["bounds"]["same_pictures"]:
            (found,) = metrics["bounds"]["classes"].values()
            rows.append(about | found)
    return table(_BOUNDS, rows)


def _pretrained(root: Path) -> list[tuple[Row, Row]]:
    """The network, the images and their number, and all numbers, of each file of docs/results/pretrained."""
    found = []
    for path in (root / "docs" / "results" / "pretrained").glob("*.json"):
        metrics, (network, _, split) = read_result(path), path.stem.rpartition("_")
        found.append(({"network": network, "split": split, "n": metrics["images"]}, metrics))
    return sorted(found, key=lambda one: (one[0]["network"], _SPLITS.index(one[0]["split"])))


def _held(name: str) -> str:
    return f"{{{name}[coverage]:.3f}} [{{{name}[low]:.3f}}, {{{name}[high]:.3f}}]"


_SPLITS = ("val", "test", "elsewhere")
_IMAGES: Columns = {
    "network": "`{network}`",
    "images": lambda row: row["split"].replace("elsewhere", "external"),
    "n": "{n}",
}
_BOUNDS: Columns = _IMAGES | {
    "area interval": _held("area"),
    "width": "{area[mean_width_share]:.3f}",
    "by the probability alone": _held("area_uncalibrated"),
    "its width": "{area_uncalibrated[mean_width_share]:.3f}",
    "lowest Dice": _held("dice_low"),
    "its mean": "{dice_low[mean]:.3f}",
}
_DOUBTS: Columns = _IMAGES | {
    "1 - Dice": "{missed:.3f}",
    "mean doubt": "{mean:.3f}",
    "Spearman's rho, doubt and Dice": "{rank_correlation_with_dice:.2f}",
}

"""docs/results/steps.md from docs/results/steps.json alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.markdown import table
from benchmarks.result_file import read_rows
from benchmarks.steps_figure import figure_name, groups
from ddim_jax.runtime.atomic import write_text

Row = Mapping[str, Any]
_FEW = 4
"""Evaluations that count as few."""

_INTRODUCTION = """\
# Dice against network evaluations

Written by `python -m benchmarks.report` from `steps.json`, which `python -m benchmarks.steps` measures; do not edit.
What the settings mean stands in [few_steps.md](../few_steps.md).

One network for each target, all with the same budget of training; the first table of each section says what they were
trained for. Calibrated protocol, mean of the samples; brackets are a 95% bootstrap interval over the pictures. "one
sample" is the Dice of a sample alone. The settings that are named as the highest were found on these very pictures, so
their Dice is a little flattered. `dpm++` with one or two steps and `ddpm` with one take the steps of `ddim` and
are not measured again. Seconds are of one picture from the array to its samples.
"""
_TRAINED = (
    *("target", "predicts", "loss", "mask at +-", "density of t", "shuffled", "x_0 clipped", "mirrored"),
    *("steps trained", "in", "picked", "validation Dice"),
)
_HEAD = (
    "target",
    "sampler",
    "steps x samples",
    "evaluations",
    "Dice",
    "one sample",
    "ECE",
    "s a picture",
)


def write(root: Path) -> Path | None:
    """Writes `root`/docs/results/steps.md; None where there is no steps.json, and then nothing is written."""
    folder = root / "docs" / "results"
    if not (folder / "steps.json").exists():
        return None
    rows = read_rows(folder / "steps.json")
    write_text(folder / "steps.md", steps_page(rows))
    return folder / "steps.md"


def steps_page(rows: Sequence[Row]) -> str:
    """The page for the rows: for each data set what it comes down to, then everything that was measured."""
    parts = [_INTRODUCTION]
    for own in groups(rows):
        about = own[0]
        parts.append(f"## {about['dataset']}, {about['size']} x {about['size']}, {about['split']} split\n")
        parts.append(
            f"{about['networks']} networks, {about['budget_s']:g} s of training each, seed {about['seed']}, on "
            f"{about['device']}; {_pictures(own)}.\n"
        )
        parts.append(f"![Dice against evaluations and seconds]({figure_name(own[0])})\n")
        parts += [table(_TRAINED, list(dict.fromkeys(_trained(row) for row in own))), ""]
        parts += _in_short(own)
        lines = [_cells(row) for row in sorted(own, key=lambda row: (row["evaluations"], row["target"]))]
        parts += [table(_HEAD, lines), ""]
    return "\n".join(parts)


def _in_short(rows: Sequence[Row]) -> list[str]:
    """For each target the best setting of all, of few evaluations and of one; settings chosen by this very table."""
    lines = []
    for target in dict.fromkeys(row["target"] for row in rows):
        own = [row for row in rows if row["target"] == target]
        found = []
        for label, most in (("at all", None), (f"with at most {_FEW} evaluations", _FEW), ("with one", 1)):
            candidates = [row for row in own if most is None or row["evaluations"] <= most]
            if candidates:
                best = max(candidates, key=lambda row: row["dice_mean"])
                setting = f"{best['sampler']} {best['steps']} x {best['samples']}"
                found.append(f"{label} {best['dice_mean']:.4f} ({setting})")
        lines.append(f"- {target}: highest Dice {', '.join(found)}")
    return [*lines, ""]


def _trained(row: Row) -> tuple[str, ...]:
    power = row["timestep_power"]
    return (
        row["target"],
        row["prediction"],
        row["loss"],
        f"{row['mask_scale']:g}",
        "even" if power == 1 else f"t^{power - 1:g}",
        "yes" if row["channel_shuffle"] else "no",
        "no" if row["clip_x0"] is None else f"+-{row['clip_x0']:g}",
        "yes" if row["flips"] else "no",
        str(row["train_steps"]),
        f"{row['train_s']:.0f} s",
        str(row["picked_step"]),
        f"{row['validation_dice']:.4f}",
    )


def _cells(row: Row) -> tuple[str, ...]:
    low, high = row["dice_ci"]
    seconds = row["seconds_per_image"]
    return (
        row["target"],
        row["sampler"],
        f"{row['steps']} x {row['samples']}",
        str(row["evaluations"]),
        f"{row['dice_mean']:.4f} [{low:.4f}, {high:.4f}]",
        f"{row['dice_single']:.4f}",
        f"{row['ece']:.4f}",
        "" if seconds is None else f"{seconds:.3g}",
    )


def _pictures(rows: Sequence[Row]) -> str:
    counts = sorted({(row["n"], row["n_in_split"]) for row in rows})
    return ", ".join(f"{n} pictures" if n == whole else f"{n} of {whole} pictures" for n, whole in counts)

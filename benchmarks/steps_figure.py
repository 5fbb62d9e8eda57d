"""The curves of `benchmarks.steps`: Dice against network evaluations and against seconds, from the rows alone."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from ddim_jax.evaluation.style import LARGE, MUTED, SMALL, TEXT, frame, save_figure

Row = Mapping[str, Any]
GROUP = ("dataset", "split", "size", "networks", "device", "budget_s", "seed", "limit")
"""What rows have in common that stand in one table and one figure."""
_COLOURS = {
    **{"x0": "#0072B2", "v": "#009E73", "noise": "#D55E00"},
    **{
        "x0_mse": "#56B4E9",
        "x0_even": "#CC79A7",
        "x0_unscaled": "#E69F00",
        "paper_x0": "#000000",
        "paper_v": "#8A6D3B",
    },
}
_DICES = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99)
_MARKERS = {"ddim": "o", "dpm++": "^", "ddpm": "s"}
_LINES = ("-", "--", ":")
"""For the numbers of samples, from the most to the fewest."""


def figure_name(row: Row) -> str:
    """The file that shows the group of a row: all of `GROUP` that is not as usual is in its name."""
    parts = [row["dataset"], row["size"], re.sub(r"[^a-z0-9]+", "-", row["device"].lower()), f"{row['budget_s']:g}s"]
    parts += [] if row["networks"] == "small" else [row["networks"]]
    parts += [] if row["split"] == "test" else [row["split"]]
    parts += [] if row["limit"] is None else [f"{row['limit']}-pictures"]
    parts += [] if row["seed"] == 0 else [f"seed{row['seed']}"]
    return f"steps_{'_'.join(map(str, parts))}.png"


def groups(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows that belong together, in the order in which they come."""
    found: dict[tuple, list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in GROUP), []).append(row)
    return list(found.values())


def draw_curves(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """Draws a figure for every group of rows; where they are."""
    paths = []
    for own in groups(rows):
        first = own[0]
        paths.append(folder / figure_name(first))
        about = f"{first['dataset']}, {first['size']} x {first['size']}, {first['split']} split, {first['n']} pictures"
        _draw(paths[-1], own, f"{about}: Dice against the work for one image")
    return paths


def _draw(path: Path, rows: Sequence[Row], title: str) -> None:
    figure = Figure(figsize=(10.0, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    counts = sorted({row["samples"] for row in rows}, reverse=True)
    for target, sampler, samples in dict.fromkeys((r["target"], r["sampler"], r["samples"]) for r in rows):
        curve = sorted(
            (r for r in rows if (r["target"], r["sampler"], r["samples"]) == (target, sampler, samples)),
            key=lambda row: row["steps"],
        )
        style = {
            "color": _COLOURS[target],
            "marker": _MARKERS[sampler],
            "linestyle": _LINES[min(counts.index(samples), len(_LINES) - 1)],
            "linewidth": 1.0,
            "markersize": 4.5,
        }
        left.plot([row["evaluations"] for row in curve], [_missed(row) for row in curve], **style)
        timed = [row for row in curve if row["seconds_per_image"] is not None]
        right.plot([row["seconds_per_image"] for row in timed], [_missed(row) for row in timed], **style)
    # What is missed, on a logarithmic scale: .95 and .96 are as far apart as .75 and .80.
    missed = [_missed(row) for row in rows]
    left.set_ylim(min(1.0, 1.15 * max(missed)), min(missed) / 1.15)
    left.set_yscale("log")
    left.set_yticks([1.0 - dice for dice in _DICES if min(missed) / 1.15 <= 1.0 - dice <= 1.15 * max(missed)])
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{1.0 - value:.2f}"))
    left.yaxis.set_minor_formatter(NullFormatter())
    _frame(left, "network evaluations for an image", "Dice (calibrated)")
    _frame(right, "seconds for an image", "")
    figure.suptitle(title, fontsize=LARGE, color=TEXT)
    figure.legend(handles=_legend(rows, counts), loc="outside lower center", ncols=12, fontsize=SMALL, frameon=False)
    save_figure(figure, path)


def _legend(rows: Sequence[Row], counts: Sequence[int]) -> list:
    axes = Figure().subplots()
    handles = []
    for name, colour in _COLOURS.items():
        if any(row["target"] == name for row in rows):
            handles += axes.plot([], [], color=colour, label=name)
    for name, marker in _MARKERS.items():
        if any(row["sampler"] == name for row in rows):
            handles += axes.plot([], [], color=MUTED, marker=marker, linestyle="", label=name)
    for place, count in enumerate(counts):
        line = _LINES[min(place, len(_LINES) - 1)]
        handles += axes.plot([], [], color=MUTED, linestyle=line, label=f"{count} sample{'s' if count > 1 else ''}")
    return handles


def _missed(row: Row) -> float:
    return max(1.0 - row["dice_mean"], 1e-3)


def _frame(axes: Axes, xlabel: str, ylabel: str) -> None:
    frame(axes, xlabel, ylabel)
    axes.set_xscale("log")
    axes.grid(axis="y", linewidth=0.4, color="#DDDDDD")

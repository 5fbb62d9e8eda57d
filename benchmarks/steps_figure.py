"""The curves of `benchmarks.steps`: Dice against network evaluations and against seconds, from the rows alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddim_jax.evaluation.style import LARGE, MUTED, SMALL, TEXT, frame, save_figure

Row = Mapping[str, Any]
_COLOURS = {"x0": "#0072B2", "v": "#009E73", "noise": "#D55E00"}
_MARKERS = {"ddim": "o", "dpm++": "^", "ddpm": "s"}
_LINES = ("-", "--", ":")
"""For the numbers of samples, from the most to the fewest."""


def figure_name(row: Row) -> str:
    """The file that shows the data set of a row."""
    split = "" if row["split"] == "test" else f"_{row['split']}"
    return f"steps_{row['dataset']}_{row['size']}{split}.png"


def draw_curves(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """Draws steps_<data set>_<size>.png (with _val for the validation split) for every data set; where they are."""
    paths = []
    for dataset, size, split in dict.fromkeys((row["dataset"], row["size"], row["split"]) for row in rows):
        own = [row for row in rows if (row["dataset"], row["size"], row["split"]) == (dataset, size, split)]
        paths.append(folder / figure_name(own[0]))
        _draw(paths[-1], own, f"{dataset}, {size} x {size}, {split} split: Dice against the work for one image")
    return paths


def _draw(path: Path, rows: Sequence[Row], title: str) -> None:
    figure = Figure(figsize=(10.0, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    counts = sorted({row["samples"] for row in rows}, reverse=True)
    for prediction, sampler, samples in dict.fromkeys((r["prediction"], r["sampler"], r["samples"]) for r in rows):
        curve = sorted(
            (r for r in rows if (r["prediction"], r["sampler"], r["samples"]) == (prediction, sampler, samples)),
            key=lambda row: row["steps"],
        )
        style = {
            "color": _COLOURS[prediction],
            "marker": _MARKERS[sampler],
            "linestyle": _LINES[min(counts.index(samples), len(_LINES) - 1)],
            "linewidth": 1.0,
            "markersize": 4.5,
        }
        dice = [row["dice_mean"] for row in curve]
        left.plot([row["evaluations"] for row in curve], dice, **style)
        timed = [row for row in curve if row["seconds_per_image"] is not None]
        right.plot([row["seconds_per_image"] for row in timed], [row["dice_mean"] for row in timed], **style)
    _frame(left, "network evaluations for an image", "Dice (calibrated)")
    _frame(right, "seconds for an image", "")
    figure.suptitle(title, fontsize=LARGE, color=TEXT)
    figure.legend(handles=_legend(rows, counts), loc="outside lower center", ncols=9, fontsize=SMALL, frameon=False)
    save_figure(figure, path)


def _legend(rows: Sequence[Row], counts: Sequence[int]) -> list:
    axes = Figure().subplots()
    handles = []
    for name, colour in _COLOURS.items():
        if any(row["prediction"] == name for row in rows):
            handles += axes.plot([], [], color=colour, label=f"predicts {name}")
    for name, marker in _MARKERS.items():
        if any(row["sampler"] == name for row in rows):
            handles += axes.plot([], [], color=MUTED, marker=marker, linestyle="", label=name)
    for place, count in enumerate(counts):
        line = _LINES[min(place, len(_LINES) - 1)]
        handles += axes.plot([], [], color=MUTED, linestyle=line, label=f"{count} sample{'s' if count > 1 else ''}")
    return handles


def _frame(axes: Axes, xlabel: str, ylabel: str) -> None:
    frame(axes, xlabel, ylabel)
    axes.set_xscale("log")
    axes.grid(axis="y", linewidth=0.4, color="#DDDDDD")

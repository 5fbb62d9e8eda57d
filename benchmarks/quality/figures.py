"""Figures of the result files: Table 1, and the curves of Dice over network evaluations and over seconds."""

import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.tables import Row, groups_of
from configs.table1 import SYSTEMS
from ddim_jax.evaluation.style import LARGE, MUTED, NORMAL, PROTOCOL_COLOURS, SMALL, TEXT, frame, save_figure

GROUP = ("dataset", "split", "size", "networks", "device", "budget_s", "seed", "limit")
"""Fields in which the rows of one table and one figure agree."""
_COLOURS = {"x0": "#0072B2", "v": "#009E73", "noise": "#D55E00"}
_DICES = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99)
_MARKERS = {"ddim": "o", "dpm++": "^", "ddpm": "s"}
_ROBUST_LINE = (
    "system", "augmentation", "size", "adversarial_epsilon", "adversarial_share", "interpolated", "train_steps",
    "steps",
)  # fmt: skip
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


def draw_curves(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """Draws a figure for every group of rows; where they are."""
    paths = []
    for own in groups_of(rows, GROUP):
        first = own[0]
        paths.append(folder / figure_name(first))
        about = f"{first['dataset']}, {first['size']} x {first['size']}, {first['split']} split, {first['n']} images"
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
    _frame(left, "network evaluations for an image", "Dice")
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


def table1_figures(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of Table 1 by the figure that shows them: all data sets of one size, networks, device and budget."""
    comparisons = groups_of(rows, ("size", "networks", "device", "budget_s"))
    return {f"table1_{number}.png": own for number, own in enumerate(comparisons, start=1)}


def draw_table1(folder: Path, rows: Sequence[Row]) -> None:
    """Draws for each comparison one panel a data set, one line a system: the Dice of both protocols, with intervals."""
    for name, own in table1_figures(rows).items():
        datasets = list(dict.fromkeys(row["dataset"] for row in own))
        systems = [system for system in SYSTEMS if any(row["system"] == system for row in own)][::-1]
        figure = Figure(figsize=(3.2 * len(datasets) + 1.8, 0.42 * len(systems) + 1.3), layout="constrained")
        panels = figure.subplots(1, len(datasets), squeeze=False, sharey=True)[0]
        for axes, dataset in zip(panels, datasets, strict=True):
            for place, system in enumerate(systems):
                for protocol, colour in PROTOCOL_COLOURS.items():
                    wanted = (dataset, system, protocol)
                    seeds = [row for row in own if (row["dataset"], row["system"], row["protocol"]) == wanted]
                    if seeds:
                        _draw_dice(axes, place + (0.14 if protocol == "mean" else -0.14), seeds, colour)
            frame(axes, "Dice", "")
            axes.set_title(dataset, fontsize=NORMAL, color=TEXT, loc="left")
            axes.set_yticks(range(len(systems)), systems, fontsize=SMALL, color=TEXT)
            axes.set_ylim(-0.5, len(systems) - 0.3)
        figure.supxlabel(_caption(own), fontsize=SMALL, color=MUTED)
        save_figure(figure, folder / name)


def _draw_dice(axes: Axes, height: float, seeds: Sequence[Row], colour: str) -> None:
    ends = [min(row["dice_ci"][0] for row in seeds), max(row["dice_ci"][1] for row in seeds)]
    axes.plot(ends, [height, height], color=colour, linewidth=1.5)
    mean = statistics.fmean(row["dice_mean"] for row in seeds)
    axes.plot(mean, height, marker="D", markersize=4.5, color=colour, linestyle="none")
    if seeds[0]["protocol"] == "mean":
        about = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center", "fontsize": SMALL, "color": colour}
        axes.annotate(f"{mean:.3f}", (mean, height), **about)


def _caption(rows: Sequence[Row]) -> str:
    several = len({row["seed"] for row in rows}) > 1
    text = "Diamond: mean over the test images"
    text += " and the seeds; line: from the lowest to the highest end of the seeds'" if several else "; line:"
    text += " 95% bootstrap intervals. Blue: protocol mean; red: protocol paper."
    parts = dict.fromkeys(
        f"{row['system']} on {row['n']} of {row['n_in_split']} ({row['dataset']})"
        for row in rows
        if row["n"] < row["n_in_split"]
    )
    return text + (f"\nNot on all test images: {', '.join(parts)}." if parts else "")


def draw_robustness(path: Path, rows: Sequence[Row]) -> None:
    """Draws Dice above and doubt below against the severity of each corruption and attack, one line a network.

    Args:
      path: of the PNG file.
      rows: of docs/results/robustness.json, of one data set; at 0 are the same images, clean.
    """
    changes = [
        (name, through) for name, through in dict.fromkeys((r["change"], r["through"]) for r in rows) if name != "none"
    ]
    figure = Figure(figsize=(1.75 * len(changes) + 0.6, 4.4), layout="constrained")
    axes = figure.subplots(2, len(changes), squeeze=False, sharex="col", sharey="row")
    palette = [*_COLOURS.values(), "#CC79A7", "#E69F00", "#56B4E9"]
    for number, own in enumerate(groups_of(rows, _ROBUST_LINE)):
        again, hue = divmod(number, len(palette))
        style = {"color": palette[hue], "linestyle": ("-", "--", ":")[again % 3]}
        style |= {"marker": ".", "linewidth": 1.2, "markersize": 4}
        for column, (change, through) in enumerate(changes):
            curve = [r for r in own if (r["change"], r["through"]) == (change, through)]
            if curve:
                clean = {
                    "dice_mean": curve[0]["dice_mean"] + curve[0]["lost"],
                    "doubt_mean": curve[0].get("doubt_clean"),
                }
                for place, field in enumerate(clean):
                    points = [(0, clean[field])] if clean[field] is not None else []  # of the same images
                    points += [(r["severity"], r[field]) for r in curve]
                    axes[place, column].plot(*zip(*points, strict=True), **style)
        axes[0, 0].plot([], [], **style, label=_robust_name(own[0]))
    for column, (change, through) in enumerate(changes):
        axes[0, column].set_title(change if through in (None, "sampler") else f"{change}, {through}", fontsize=NORMAL)
        for place, label in enumerate(("Dice", "doubt")):
            unit = "severity" if through is None else "levels of 255"
            frame(axes[place, column], unit if place else "", label if column == 0 else "")
            axes[place, column].grid(axis="y", linewidth=0.4, color="#DDDDDD")
    axes[0, 0].set_ylim(0, 1)
    axes[1, 0].set_ylim(bottom=0)
    whole, attacked = (
        " or ".join(map(str, sorted({row["n"] for row in rows if (row["through"] is None) == is_whole})))
        for is_whole in (True, False)
    )
    of = f"{whole} images" + (f", of which {attacked} are attacked" if attacked else "")
    figure.suptitle(f"{rows[0]['dataset']}, {rows[0]['split']} split, {of}", fontsize=LARGE, color=TEXT)
    figure.legend(loc="outside lower center", ncols=1, fontsize=SMALL, frameon=False)
    save_figure(figure, path)


def _robust_name(row: Row) -> str:
    trained = ""
    if row["adversarial_epsilon"]:
        share = "" if row["adversarial_share"] == 1 else f"{row['adversarial_share']:.0%} of them "
        trained = f", {share}attacked with {row['adversarial_epsilon'] * 255:.2g}/255"
    if row["interpolated"] != 1:
        trained += f", weights {row['interpolated']:g} of the way"
    return (
        f"{row['system']}, {row['augmentation']}, {row['size']} x {row['size']}, "
        f"{row['train_steps']} steps of training{trained}; {row['steps']} of the sampler"
    )

"""The picture of Table 1 in numbers: Dice of every system on every data set, from the rows alone."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from configs.table1 import SYSTEMS
from ddim_jax.evaluation.style import MUTED, NORMAL, PROTOCOL_COLOURS, SMALL, TEXT, frame, save_figure

Row = Mapping[str, Any]


def draw_table(path: Path, rows: Sequence[Row]) -> None:
    """One panel a data set, one line a system: the Dice of both protocols with its interval.

    Args:
      path: of the PNG file.
      rows: of one comparison (one size, kind of networks, device and budget). With several seeds the mean is shown,
        with a line from the lowest end of their intervals to the highest; the caption says so.
    """
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    systems = [system for system in SYSTEMS if any(row["system"] == system for row in rows)][::-1]
    figure = Figure(figsize=(3.2 * len(datasets) + 1.8, 0.42 * len(systems) + 1.3), layout="constrained")
    panels = figure.subplots(1, len(datasets), squeeze=False, sharey=True)[0]
    for axes, dataset in zip(panels, datasets, strict=True):
        for place, system in enumerate(systems):
            for protocol, colour in PROTOCOL_COLOURS.items():
                own = [
                    row
                    for row in rows
                    if (row["dataset"], row["system"], row["protocol"]) == (dataset, system, protocol)
                ]
                if not own:
                    continue
                height = place + (0.14 if protocol == "calibrated" else -0.14)
                ends = [min(row["dice_ci"][0] for row in own), max(row["dice_ci"][1] for row in own)]
                axes.plot(ends, [height, height], color=colour, linewidth=1.5)
                mean = statistics.fmean(row["dice_mean"] for row in own)
                axes.plot(mean, height, marker="D", markersize=4.5, color=colour, linestyle="none")
                if protocol == "calibrated":
                    axes.annotate(
                        f"{mean:.3f}",
                        (mean, height),
                        xytext=(0, 4),
                        textcoords="offset points",
                        ha="center",
                        fontsize=SMALL,
                        color=colour,
                    )
        frame(axes, "Dice", "")
        axes.set_title(dataset, fontsize=NORMAL, color=TEXT, loc="left")
        axes.set_yticks(range(len(systems)), systems, fontsize=SMALL, color=TEXT)
        axes.set_ylim(-0.5, len(systems) - 0.3)
    figure.supxlabel(caption(rows), fontsize=SMALL, color=MUTED)
    save_figure(figure, path)


def caption(rows: Sequence[Row]) -> str:
    """What diamonds and lines are, which follows from the number of seeds and of pictures."""
    colours = "Blue: calibrated; red: paper's protocol."
    if len({row["seed"] for row in rows}) == 1:
        text = f"Diamond: mean over the test pictures; line: 95% bootstrap interval. {colours}"
    else:
        text = (
            f"Diamond: mean over the test pictures and the seeds. {colours}\nLine: from the lowest to the highest end "
            "of the seeds' 95% bootstrap intervals over the pictures, which is not an interval of the mean."
        )
    parts = dict.fromkeys(
        f"{row['system']} on {row['n']} of {row['n_in_split']} ({row['dataset']})"
        for row in rows
        if row["n"] < row["n_in_split"]
    )
    return text + (f"\nNot on all test pictures: {', '.join(parts)}." if parts else "")

"""A figure of numbers alone: whether the probability is right, and whether doubt predicts error."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddim_jax.evaluation.scoring import ImageResult
from ddim_jax.evaluation.style import (
    BOTH,
    LARGE,
    MUTED,
    PROTOCOL_COLOURS,
    SMALL,
    TEXT,
    frame,
    headline,
    save_figure,
)
from ddim_jax.metrics import rejection

_COLOUR = PROTOCOL_COLOURS["mean"]


def draw_calibration(path: str | os.PathLike, results: Sequence[ImageResult], metrics: dict[str, Any]) -> None:
    """Draws a reliability diagram with the share of the pixels in each bin, and the Dice of the rest against coverage.

    Args:
      path: of the PNG file.
      results: the images.
      metrics: what `metrics.json` holds.
    """
    figure = Figure(figsize=(10.0, 4.6), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.05, wspace=0.03)
    axes = figure.subplot_mosaic([["reliability", "rest"], ["shares", "rest"]], height_ratios=[3, 1])
    _reliability(axes["reliability"], metrics["calibration"])
    _shares(axes["shares"], metrics["calibration"], f"probability of a pixel (calibrated, {metrics['ensemble']})")
    _rest(axes["rest"], results, metrics["rejection"])
    figure.suptitle(headline(metrics), fontsize=LARGE, color=TEXT)
    save_figure(figure, path)


def _reliability(axes: Axes, calibration: dict[str, Any]) -> None:
    filled = [found for found in calibration["bins"] if found["pixels"]]
    told = [found["mean_probability"] for found in filled]
    came_true = [found["foreground_fraction"] for found in filled]
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.vlines(told, told, came_true, color=_COLOUR, linewidth=3.0, alpha=0.3)
    axes.plot(told, came_true, color=_COLOUR, linewidth=1.2, marker="o", markersize=4, clip_on=False)
    frame(axes, "", "fraction that is foreground")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.tick_params(labelbottom=False)
    axes.set_title(
        f"expected calibration error {calibration['ece']:.4f}; dashed: calibrated; light: how far off",
        fontsize=SMALL,
        color=MUTED,
        loc="left",
    )


def _shares(axes: Axes, calibration: dict[str, Any], label: str) -> None:
    bins = calibration["bins"]
    total = sum(found["pixels"] for found in bins)
    shares = [found["pixels"] / total for found in bins]
    smallest = min(share for share in shares if share)
    axes.bar(
        [found["from"] for found in bins],
        shares,
        [found["to"] - found["from"] for found in bins],
        align="edge",
        color=_COLOUR,
        alpha=0.35,
        edgecolor="white",
        linewidth=0.5,
    )
    frame(axes, label, "share of pixels")
    axes.set_yscale("log")
    axes.set_xlim(0, 1)
    axes.set_ylim(min(0.01, 10.0 ** np.floor(np.log10(0.5 * smallest))), 1.0)
    axes.minorticks_off()


def _rest(axes: Axes, results: Sequence[ImageResult], summary: dict[str, Any]) -> None:
    curve = rejection([result.doubt for result in results], [result.scores["mean"].dice for result in results])
    mean = curve.unordered_area
    axes.plot(curve.coverages, curve.best_dice, color=BOTH, linewidth=1.2, linestyle=(0, (4, 2)))
    axes.plot(curve.coverages, curve.dice, color=_COLOUR, linewidth=1.5, marker=".", markersize=3)
    axes.axhline(mean, color=MUTED, linewidth=1.0, linestyle=(0, (1, 2)))
    kept = summary["kept_images"] / len(results)
    axes.plot(kept, summary["kept_dice"], marker="D", markersize=5.5, linestyle="none", color=_COLOUR)
    axes.legend(
        [
            f"best order, area {summary['best_area']:.3f}",
            f"most doubtful first, area {summary['area']:.3f}",
            f"no order, area {summary['unordered_area']:.3f}",
            f"{summary['kept_images']} of {len(results)} kept: {summary['kept_dice']:.3f}",
        ],
        loc="best",
        fontsize=SMALL,
        frameon=False,
        labelcolor=TEXT,
    )
    frame(axes, "share of the images kept", "Dice of the images kept (calibrated)")
    axes.set_xlim(0, 1.02)
    gain = summary["gain"]
    label = (
        "all Dice are equal: nothing to gain" if gain is None else f"{gain:.0%} of what the best order gains over none"
    )
    axes.set_title(label, fontsize=SMALL, color=MUTED, loc="left")

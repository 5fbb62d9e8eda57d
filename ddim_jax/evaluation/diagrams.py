"""Figures of numbers alone, which may be shown where the images may not."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddim_jax.aggregation import PROTOCOLS
from ddim_jax.evaluation.scoring import ImageResult
from ddim_jax.evaluation.style import (
    LARGE,
    MUTED,
    NORMAL,
    PROTOCOL_COLOURS,
    SMALL,
    TEXT,
    frame,
    headline,
    plain,
    save_figure,
)
from ddim_jax.evaluation.summary import cut_in_words
from ddim_jax.imageio.class_colours import class_colour
from ddim_jax.metrics import risk_coverage

_COLOUR = PROTOCOL_COLOURS["mean"]


def draw_scores(path: str | os.PathLike, results: Sequence[ImageResult], metrics: dict[str, Any]) -> None:
    """Draws the distribution of Dice over the images for each protocol, and Dice against mean uncertainty.

    Args:
      path: of the PNG file.
      results: the images.
      metrics: the contents of `metrics.json`.
    """
    figure = Figure(figsize=(10.0, 4.1), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.05, wspace=0.03)
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    _distributions(left, results, metrics)
    _against_uncertainty(right, results, metrics)
    figure.suptitle(headline(metrics), fontsize=LARGE, color=TEXT)
    save_figure(figure, path)


def _distributions(axes: Axes, results: Sequence[ImageResult], metrics: dict[str, Any]) -> None:
    names = list(PROTOCOLS)
    values = {name: np.array([result.scores[name].dice for result in results]) for name in names}
    low = max(0.0, np.floor(min(v.min() for v in values.values()) * 20 - 0.5) / 20)
    edges = np.linspace(low, 1.0, 41)
    rng = np.random.default_rng(0)
    for place, name in enumerate(reversed(names)):
        colour, summary = PROTOCOL_COLOURS[name], metrics["protocols"][name]["per_image"]
        heights, _ = np.histogram(values[name], edges)
        base = place + 0.09
        axes.stairs(base + 0.5 * heights / heights.max(), edges, baseline=base, fill=True, color=colour, alpha=0.35)
        jitter = rng.uniform(-0.26, -0.1, len(values[name]))
        axes.scatter(values[name], place + jitter, s=9, color=colour, alpha=0.55, linewidths=0)
        mean = summary["dice"]
        axes.plot([mean["low"], mean["high"]], [place, place], color=colour, linewidth=1.5, marker="|", markersize=7)
        axes.plot(mean["mean"], place, marker="D", markersize=5, color=colour)
        interval = f" [{mean['low']:.3f}, {mean['high']:.3f}]" if mean["low"] < mean["high"] else ""
        single = summary["dice_single"]["mean"]
        axes.plot(single, place - 0.055, marker="^", markersize=4.5, color=TEXT)
        axes.annotate(
            f"mean {mean['mean']:.3f}{interval}, one sample alone {single:.3f}",
            (0.0, place + 0.64),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            fontsize=NORMAL,
            color=colour,
            va="center",
        )
    frame(axes, "Dice of an image", "")
    pad = 0.02 * (1.0 - low)
    axes.set_xlim(low - pad, 1.0 + pad)
    axes.set_ylim(-0.35, len(names) - 0.2)
    labels = [f"{name}\n({cut_in_words(metrics['protocols'][name]['threshold'])})" for name in reversed(names)]
    axes.set_yticks(range(len(names)), labels, fontsize=NORMAL, color=TEXT)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    legend = "diamond: mean with its 95% interval; triangle: mean of one sample alone; dots: images"
    axes.set_title(legend, fontsize=SMALL, color=MUTED, loc="left")


def _against_uncertainty(axes: Axes, results: Sequence[ImageResult], metrics: dict[str, Any]) -> None:
    spreads = [result.uncertainty for result in results]
    axes.scatter(
        spreads,
        [result.scores["mean"].dice for result in results],
        s=16,
        color=_COLOUR,
        alpha=0.6,
        linewidths=0,
        clip_on=False,
    )
    axes.set_xlim(0, max(1.05 * max(spreads), 0.01))
    frame(axes, "mean uncertainty of an image", "Dice (protocol mean)")
    axes.locator_params(axis="x", nbins=5)
    correlation = metrics["uncertainty"]["rank_correlation_with_dice"]
    label = "rank correlation not defined" if correlation is None else f"rank correlation {correlation:+.2f}"
    axes.set_title(label, fontsize=SMALL, color=MUTED, loc="left")


def draw_calibration(path: str | os.PathLike, results: Sequence[ImageResult], metrics: dict[str, Any]) -> None:
    """Draws a reliability diagram with the share of the pixels in each bin, and the Dice of the rest against coverage.

    Args:
      path: of the PNG file.
      results: the images.
      metrics: the contents of `metrics.json`.
    """
    figure = Figure(figsize=(10.0, 4.6), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.05, wspace=0.03)
    axes = figure.subplot_mosaic([["reliability", "rest"], ["shares", "rest"]], height_ratios=[3, 1])
    # Hues are those of the classes where there are several.
    colour = TEXT if "classes" in metrics["calibration"] else _COLOUR
    about = f"probability of a pixel (protocol mean, {metrics['ensemble']})"
    _reliability(axes["reliability"], metrics["calibration"], colour)
    _shares(axes["shares"], metrics["calibration"], about, colour)
    _rest(axes["rest"], results, metrics["risk_coverage"], colour)
    figure.suptitle(headline(metrics), fontsize=LARGE, color=TEXT)
    save_figure(figure, path)


def _reliability(axes: Axes, calibration: dict[str, Any], colour: str) -> None:
    filled = [found for found in calibration["bins"] if found["pixels"]]
    told = [found["mean_probability"] for found in filled]
    came_true = [found["foreground_fraction"] for found in filled]
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.vlines(told, told, came_true, color=colour, linewidth=3.0, alpha=0.3)
    style = {"linewidth": 1.2, "marker": "o", "markersize": 4, "clip_on": False}
    axes.plot(told, came_true, color=colour, label=f"all classes: {calibration['ece']:.4f}", **style)
    for number, (name, own) in enumerate(calibration.get("classes", {}).items(), start=1):
        bins = [found for found in own["bins"] if found["pixels"]]
        axes.plot(
            [found["mean_probability"] for found in bins],
            [found["foreground_fraction"] for found in bins],
            color=tuple(channel / 255 for channel in class_colour(number)),
            linewidth=1.0,
            label=f"{plain(name)}: {own['ece']:.4f}",
        )
    if "classes" in calibration:
        axes.legend(loc="upper left", fontsize=SMALL, frameon=False, labelcolor=TEXT)
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


def _shares(axes: Axes, calibration: dict[str, Any], label: str, colour: str) -> None:
    bins = calibration["bins"]
    total = sum(found["pixels"] for found in bins)
    shares = [found["pixels"] / total for found in bins]
    smallest = min(share for share in shares if share)
    axes.bar(
        [found["from"] for found in bins],
        shares,
        [found["to"] - found["from"] for found in bins],
        align="edge",
        color=colour,
        alpha=0.35,
        edgecolor="white",
        linewidth=0.5,
    )
    frame(axes, label, "share of pixels")
    axes.set_yscale("log")
    axes.set_xlim(0, 1)
    axes.set_ylim(min(0.01, 10.0 ** np.floor(np.log10(0.5 * smallest))), 1.0)
    axes.minorticks_off()


def _rest(axes: Axes, results: Sequence[ImageResult], summary: dict[str, Any], colour: str) -> None:
    curve = risk_coverage([result.doubt for result in results], [result.scores["mean"].dice for result in results])
    mean = curve.unordered_area
    axes.plot(curve.coverages, curve.best_dice, color=MUTED, linewidth=1.2, linestyle=(0, (4, 2)))
    axes.plot(curve.coverages, curve.dice, color=colour, linewidth=1.5, marker=".", markersize=3)
    axes.axhline(mean, color=MUTED, linewidth=1.0, linestyle=(0, (1, 2)))
    kept = summary["kept_images"] / len(results)
    axes.plot(kept, summary["kept_dice"], marker="D", markersize=5.5, linestyle="none", color=colour)
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
    frame(axes, "share of the images kept", "Dice of the images kept (protocol mean)")
    axes.set_xlim(0, 1.02)
    gain = summary["gain"]
    label = (
        "all Dice are equal: nothing to gain" if gain is None else f"{gain:.0%} of what the best order gains over none"
    )
    axes.set_title(label, fontsize=SMALL, color=MUTED, loc="left")

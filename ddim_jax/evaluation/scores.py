"""A figure of numbers alone, which may be shown where the pictures may not."""

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
    save_figure,
)


def draw_scores(path: str | os.PathLike, results: Sequence[ImageResult], metrics: dict[str, Any]) -> None:
    """Draws the distribution of Dice over the images for each protocol, and Dice against mean uncertainty.

    Args:
      path: of the PNG file.
      results: the images.
      metrics: what `metrics.json` holds.
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
        single = summary["dice_single"]["mean"]
        axes.plot(single, place - 0.055, marker="^", markersize=4.5, color=TEXT)
        axes.annotate(
            f"mean {mean['mean']:.3f} [{mean['low']:.3f}, {mean['high']:.3f}], one sample alone {single:.3f}",
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
    labels = [f"{name}\n(> {PROTOCOLS[name].threshold})" for name in reversed(names)]
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
        color=PROTOCOL_COLOURS["mean"],
        alpha=0.6,
        linewidths=0,
        clip_on=False,
    )
    axes.set_xlim(0, max(1.05 * max(spreads), 0.01))
    frame(axes, "mean uncertainty of an image", "Dice (calibrated)")
    axes.locator_params(axis="x", nbins=5)
    correlation = metrics["uncertainty"]["rank_correlation_with_dice"]
    label = "rank correlation not defined" if correlation is None else f"rank correlation {correlation:+.2f}"
    axes.set_title(label, fontsize=SMALL, color=MUTED, loc="left")

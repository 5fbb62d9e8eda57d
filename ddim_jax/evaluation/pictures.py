"""Figures that show pictures of the data set: a grid of samples and a strip of results."""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ddim_jax.evaluation.cases import Case
from ddim_jax.evaluation.style import (
    BOTH,
    LARGE,
    MUTED,
    NORMAL,
    PREDICTION,
    SMALL,
    TEXT,
    TRUTH,
    count,
    outline,
    panel,
    save_figure,
    shorten,
    show,
)

_SAMPLES_SHOWN = 5
_CELL = 1.3  # inches


def draw_grid(path: str | os.PathLike, cases: Sequence[Case]) -> None:
    """One row a case: picture, truth, up to five samples, what they make together and their disagreement.

    Args:
      path: of the PNG file.
      cases: one or more, each with the same number of samples and the same ensemble.
    """
    fused = {"staple": "STAPLE"}.get(cases[0].ensemble, cases[0].ensemble)
    samples = len(cases[0].samples)
    shown = min(samples, _SAMPLES_SHOWN)
    titles = ["image", "truth", *(f"sample {k + 1}" for k in range(shown)), "ensemble", "uncertainty"]
    heights = [case.image.shape[0] / case.image.shape[1] for case in cases]
    figure = Figure(figsize=(_CELL * len(titles) + 1.2, _CELL * sum(heights) + 1.0), layout="compressed")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0, hspace=0)
    axes = figure.subplots(len(cases), len(titles), squeeze=False, height_ratios=heights)
    top = _uncertainty_top(cases)
    for row, case in zip(axes, cases, strict=True):
        shape = case.image.shape[:2]
        show(row[0], case.image, shape)
        show(row[1], case.truth, shape, cmap="gray", vmin=0, vmax=1)
        for cell, sample in zip(row[2:-2], case.samples, strict=False):
            show(cell, sample, shape, cmap="gray", vmin=0, vmax=1)
        show(row[-2], case.probability, shape, cmap="gray", vmin=0, vmax=1)
        outline(row[-2], case.truth, shape, TRUTH)
        heat = show(row[-1], case.uncertainty, shape, cmap="magma", vmin=0, vmax=top)
        for cell in row:
            panel(cell)
        row[0].set_ylabel(
            f"{shorten(case.result.id, 16)}\nDice {case.dice:.3f}", fontsize=SMALL, color=TEXT, labelpad=5
        )
    for cell, title in zip(axes[0], titles, strict=True):
        panel(cell, title)
    _colour_bar(figure, heat, axes[:, -1])
    figure.suptitle("From the best to the worst Dice", fontsize=LARGE, color=TEXT)
    figure.supxlabel(
        f"Samples and ensemble ({fused} of {count(samples, 'sample')}): probability, 0 is black and 1 white.\n"
        "Orange: outline of the truth. Uncertainty: standard deviation of the samples.",
        fontsize=SMALL,
        color=MUTED,
    )
    save_figure(figure, path)


def draw_strip(path: str | os.PathLike, cases: Sequence[Case], title: str) -> None:
    """One column a case: outlines on the picture, where the masks agree, and the uncertainty.

    Args:
      path: of the PNG file.
      cases: one or more.
      title: of the figure.
    """
    widths = [case.image.shape[1] / case.image.shape[0] for case in cases]
    side = 1.35 * _CELL
    figure = Figure(figsize=(max(side * sum(widths) + 1.0, 5.5), 3 * side + 1.2), layout="compressed")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.02, wspace=0, hspace=0)
    axes = figure.subplots(3, len(cases), squeeze=False, width_ratios=widths)
    top = _uncertainty_top(cases)
    for column, case in zip(axes.T, cases, strict=True):
        shape = case.image.shape[:2]
        show(column[0], case.image, shape)
        # The truth is the wider line, so that it shows on both sides where the two run together.
        outline(column[0], case.truth, shape, TRUTH, width=2.4)
        outline(column[0], case.prediction, shape, PREDICTION, width=1.0)
        show(column[1], case.image.mean(axis=-1), shape, cmap="gray", vmin=0, vmax=255)
        show(column[1], _agreement(case.prediction, case.truth), shape)
        heat = show(column[2], case.uncertainty, shape, cmap="magma", vmin=0, vmax=top)
        paper = case.result.scores["paper"].dice
        panel(column[0], f"{shorten(case.result.id, 24)}\nDice {case.dice:.3f} (paper {paper:.3f})")
        panel(column[1])
        panel(column[2])
    for cell, label in zip(axes[:, 0], ("outlines", "agreement", "uncertainty"), strict=True):
        cell.set_ylabel(label, fontsize=NORMAL, color=TEXT)
    _colour_bar(figure, heat, axes[2])
    figure.suptitle(title, fontsize=LARGE, color=TEXT)
    figure.legend(
        handles=[
            Patch(facecolor="none", edgecolor=TRUTH, linewidth=1.5, label="outline of the truth"),
            Patch(facecolor="none", edgecolor=PREDICTION, linewidth=1.5, label="outline of the prediction"),
            Patch(color=BOTH, label="in both"),
            Patch(color=TRUTH, label="truth only (missed)"),
            Patch(color=PREDICTION, label="prediction only"),
        ],
        loc="outside lower center",
        ncols=5 if figure.get_figwidth() > 8 else 3,
        fontsize=SMALL,
        frameon=False,
        labelcolor=TEXT,
    )
    save_figure(figure, path)


def _agreement(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """RGBA [h, w, 4]: green in both, orange in the truth alone, blue in the prediction alone, clear elsewhere."""
    drawn, there = prediction.astype(bool), truth.astype(bool)
    overlay = np.zeros((*truth.shape, 4))
    overlay[drawn & there] = (*to_rgb(BOTH), 0.45)
    overlay[~drawn & there] = (*to_rgb(TRUTH), 0.9)
    overlay[drawn & ~there] = (*to_rgb(PREDICTION), 0.9)
    return overlay


def _uncertainty_top(cases: Sequence[Case]) -> float:
    """The upper end of the colour scale: the largest uncertainty shown, rounded up to a twentieth."""
    return max(0.05, float(np.ceil(max(case.uncertainty.max() for case in cases) * 20) / 20))


def _colour_bar(figure: Figure, heat, axes: np.ndarray) -> None:
    bar = figure.colorbar(heat, ax=list(axes), pad=0.015, aspect=22 if len(axes) > 1 else 12)
    bar.ax.tick_params(labelsize=SMALL, colors=TEXT, width=0.5, length=2)
    bar.outline.set_linewidth(0.5)

"""Colours, panels and axes that the figures share."""

import os
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddim_jax.evaluation.tables import samples_in_words
from ddim_jax.runtime.atomic import atomic_path
from ddim_jax.runtime.values import quantity

# From the palette of Okabe and Ito, told apart by colour-blind readers and on grey images.
TRUTH = "#E69F00"
PREDICTION = "#56B4E9"
BOTH = "#009E73"
PROTOCOL_COLOURS = {"paper": "#D55E00", "mean": "#0072B2"}
TEXT = "#2B2B2B"
MUTED = "#6E6E6E"
SMALL, NORMAL, LARGE = 7.5, 9.0, 11.0


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a figure as PNG at 150 dots an inch, atomically."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, facecolor="white")


def panel(axes: Axes, title: str = "") -> None:
    """Makes the axes a bare frame for an image, with a title above."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
        spine.set_color("#BBBBBB")
    if title:
        axes.set_title(title, fontsize=SMALL, color=TEXT, pad=3)


def show(axes: Axes, picture: np.ndarray, shape: tuple[int, int], **options):
    """Shows an image or map of any size as if it had `shape` (height, width); returns matplotlib's image."""
    options.setdefault("interpolation", "nearest")
    return axes.imshow(picture, extent=(0, shape[1], shape[0], 0), aspect="equal", **options)


def frame(axes: Axes, xlabel: str, ylabel: str) -> None:
    """Makes the axes a diagram with labels, a light grid for reading values off the x-axis and no box."""
    axes.set_xlabel(xlabel, fontsize=NORMAL, color=TEXT)
    axes.set_ylabel(ylabel, fontsize=NORMAL, color=TEXT)
    axes.tick_params(labelsize=SMALL, colors=TEXT, width=0.5, length=3)
    axes.grid(axis="x", linewidth=0.4, color="#DDDDDD")
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_linewidth(0.5)


def outline(axes: Axes, mask: np.ndarray, shape: tuple[int, int], colour: str, *, width: float = 1.0) -> None:
    """Draws the outline of a mask [h, w] over an image of `shape`; an empty mask has none."""
    if not mask.any():
        return
    # With a frame of background the outline closes where the mask touches the image's edge.
    framed = np.pad(mask.astype(np.float32), 1)
    rows = (np.arange(-1, mask.shape[0] + 1) + 0.5) * shape[0] / mask.shape[0]
    columns = (np.arange(-1, mask.shape[1] + 1) + 0.5) * shape[1] / mask.shape[1]
    axes.contour(
        np.clip(columns, 0, shape[1]),
        np.clip(rows, 0, shape[0]),
        framed,
        levels=[0.5],
        colors=[colour],
        linewidths=width,
    )


def headline(metrics: dict[str, Any]) -> str:
    """The title of an evaluation, from what `metrics.json` holds."""
    return (
        f"{plain(metrics['dataset'])}, {metrics['split']}: {quantity(metrics['images'], 'image')}, "
        f"{samples_in_words(metrics)} of {quantity(metrics['steps'], 'step')}, "
        f"checkpoint at step {metrics['step']}"
    )


def shorten(name: str, length: int) -> str:
    """The name as a label shows it, with its middle left out where it is too long."""
    if len(name) > length:
        tail = (length - 1) // 2
        name = f"{name[: length - 1 - tail]}…{name[-tail:]}"
    return plain(name)


def plain(name: str) -> str:
    """The name with its dollars escaped: matplotlib reads what lies between two of them as a formula."""
    return name.replace("$", r"\$")

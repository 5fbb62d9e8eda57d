"""Figures that show images of the data set: samples, results, and one mask taking shape."""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddim_jax.aggregation import PROTOCOLS, sample_probabilities
from ddim_jax.evaluation.cases import Case
from ddim_jax.evaluation.colours import (
    agreement,
    agreement_in_words,
    agreement_legend,
    class_legend,
    ground,
    prediction_colour,
    truth_colour,
    truth_in_words,
)
from ddim_jax.evaluation.scoring import protocol_mask
from ddim_jax.evaluation.style import (
    LARGE,
    MUTED,
    NORMAL,
    SMALL,
    TEXT,
    outline,
    panel,
    save_figure,
    shorten,
    show,
)
from ddim_jax.imageio.class_colours import blended, palette
from ddim_jax.labels import Labels
from ddim_jax.runtime.values import quantity

_SAMPLES_SHOWN = 5
_CELL = 1.3  # inches
_STEPS_SHOWN = 7
_STEP_CELL = 1.45


def draw_grid(path: str | os.PathLike, cases: Sequence[Case]) -> None:
    """One row a case: image, truth, up to five samples, what they make together and their disagreement.

    Args:
      path: of the PNG file.
      cases: one or more, each with the same number of samples and the same ensemble.
    """
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
        _show_mask(row[1], case.truth, shape, case.labels)
        for cell, sample in zip(row[2:-2], case.samples, strict=False):
            _show_probability(cell, sample, shape, case.labels)
        _show_probability(row[-2], case.probability, shape, case.labels)
        _outline_truth(row[-2], case, shape)
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
    labels = cases[0].labels
    scale = "the colours of the classes on black" if labels.several else "0 is black and 1 white"
    figure.supxlabel(
        f"Samples and ensemble ({cases[0].ensemble} of {quantity(samples, 'sample')}): probability, {scale}.\n"
        f"{truth_in_words(labels)} Uncertainty: standard deviation of the samples.",
        fontsize=SMALL,
        color=MUTED,
    )
    _name_classes(figure, labels)
    save_figure(figure, path)


def draw_strip(path: str | os.PathLike, cases: Sequence[Case], title: str) -> None:
    """One column a case: outlines on the image, where the masks agree, and the uncertainty.

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
        for number in range(1, case.labels.count + 1):
            truth, drawn = (case.labels.of_class(mask, number) for mask in (case.truth, case.prediction))
            outline(column[0], truth, shape, truth_colour(case.labels), width=2.4)
            outline(column[0], drawn, shape, prediction_colour(case.labels, number), width=1.0)
        show(column[1], ground(case.image, case.labels), shape, cmap="gray", vmin=0, vmax=1)
        show(column[1], agreement(case.prediction, case.truth, case.labels), shape)
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
        handles=agreement_legend(cases[0].labels),
        title=agreement_in_words(cases[0].labels),
        title_fontsize=SMALL,
        loc="outside lower center",
        ncols=5 if figure.get_figwidth() > 8 else 3,
        fontsize=SMALL,
        frameon=False,
        labelcolor=TEXT,
    )
    save_figure(figure, path)


def draw_reverse_process(
    path: str | os.PathLike, case: Case, timesteps: np.ndarray, noisy: np.ndarray, estimates: np.ndarray
) -> None:
    """Draws one sample over t, noise on the left and the mask on the right, with image and truth in front.

    Args:
      path: of the PNG file.
      case: the image.
      timesteps: int [steps + 1], falling; the last entry is the end of the process, where no noise is left.
      noisy: float32 [steps + 1, h, w], x_t; the first is noise, the last the sample. Of several classes
        [steps + 1, h, w, C], of which what is not background is shown.
      estimates: float32 [steps, h, w], the estimate of x_0 made at each of the first `steps` timesteps, about [-1, 1];
        of several classes [steps, h, w, K].
    """
    labels = case.labels
    if labels.several:
        noisy = -noisy[..., 0] if labels.exclusive else noisy.mean(axis=-1)
    steps = len(estimates)
    shown = np.unique(np.linspace(0, steps - 1, min(steps, _STEPS_SHOWN)).round().astype(int))
    shape = case.image.shape[:2]
    columns = len(shown) + 2
    figure = Figure(
        figsize=(max(_STEP_CELL * columns, 5.5) + 0.4, 2 * _STEP_CELL * shape[0] / shape[1] + 0.95), layout="compressed"
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0, hspace=0)
    axes = figure.subplots(2, columns, squeeze=False)
    show(axes[0, 0], case.image, shape)
    panel(axes[0, 0], "image")
    _show_mask(axes[1, 0], case.truth, shape, labels)
    panel(axes[1, 0])
    axes[1, 0].set_xlabel("truth", fontsize=SMALL, color=TEXT, labelpad=3)
    for column, step in zip(axes.T[1:-1], shown, strict=True):
        _show_noisy(column[0], noisy[step], shape)
        if labels.several:
            _show_probability(column[1], sample_probabilities(estimates[step][np.newaxis])[0], shape, labels)
        else:
            show(column[1], estimates[step], shape, cmap="gray", vmin=-1, vmax=1)
        panel(column[0], f"t = {int(timesteps[step])}")
        panel(column[1])
    _show_noisy(axes[0, -1], noisy[-1], shape)
    panel(axes[0, -1], "end")
    drawn = protocol_mask(estimates[-1:], PROTOCOLS["mean"], estimates.shape[1:3], labels=labels)
    _show_mask(axes[1, -1], drawn if labels.several else noisy[-1] > 0, shape, labels)
    _outline_truth(axes[1, -1], case, shape)
    panel(axes[1, -1])
    axes[1, -1].set_xlabel("mask, truth outlined", fontsize=SMALL, color=TEXT, labelpad=3)
    axes[0, 1].set_ylabel("$x_t$", fontsize=NORMAL, color=TEXT)
    axes[1, 1].set_ylabel(r"estimate of $x_0$", fontsize=NORMAL, color=TEXT)
    figure.suptitle(
        f"Reverse process of {shorten(case.result.id, 30)}: {quantity(steps, 'step')}",
        fontsize=LARGE,
        color=TEXT,
    )
    figure.supxlabel(
        "$x_t$: each panel in its own range about 0; estimates of $x_0$: "
        + ("the colours of the classes on black." if labels.several else "-1, black, to 1, white.")
        + f"\n{truth_in_words(labels)}",
        fontsize=SMALL,
        color=MUTED,
    )
    _name_classes(figure, labels)
    save_figure(figure, path)


def _show_mask(axes: Axes, mask: np.ndarray, shape: tuple[int, int], labels: Labels) -> None:
    """A decoded mask: white, or in the colours of the classes, on black; grey where it is ignored."""
    if labels.several:
        show(axes, palette(labels)[mask], shape)
    else:
        show(axes, np.where(labels.valid(mask), mask, 0.5), shape, cmap="gray", vmin=0, vmax=1)


def _show_probability(axes: Axes, probability: np.ndarray, shape: tuple[int, int], labels: Labels) -> None:
    if labels.several:
        show(axes, blended(probability, labels), shape)
    else:
        show(axes, probability, shape, cmap="gray", vmin=0, vmax=1)


def _outline_truth(axes: Axes, case: Case, shape: tuple[int, int]) -> None:
    for number in range(1, case.labels.count + 1):
        outline(axes, case.labels.of_class(case.truth, number), shape, truth_colour(case.labels))


def _name_classes(figure: Figure, labels: Labels) -> None:
    if handles := class_legend(labels):
        figure.legend(handles=handles, loc="outside right upper", fontsize=SMALL, frameon=False, labelcolor=TEXT)


def _uncertainty_top(cases: Sequence[Case]) -> float:
    """The upper end of the colour scale: the largest uncertainty shown, rounded up to a twentieth."""
    return max(0.05, float(np.ceil(max(case.uncertainty.max() for case in cases) * 20) / 20))


def _colour_bar(figure: Figure, heat, axes: np.ndarray) -> None:
    bar = figure.colorbar(heat, ax=list(axes), pad=0.015, aspect=22 if len(axes) > 1 else 12)
    bar.ax.tick_params(labelsize=SMALL, colors=TEXT, width=0.5, length=2)
    bar.outline.set_linewidth(0.5)


def _show_noisy(axes: Axes, noisy: np.ndarray, shape: tuple[int, int]) -> None:
    # x_t starts as standard normal noise and may end as a mask of another scale, so no fixed range shows both.
    bound = max(float(np.percentile(np.abs(noisy), 99)), 1e-6)
    show(axes, noisy, shape, cmap="gray", vmin=-bound, vmax=bound)

"""A figure of one mask taking shape: x_t and the estimate of x_0 along the reverse process."""

import os

import numpy as np
from matplotlib.figure import Figure

from ddim_jax.evaluation.cases import Case
from ddim_jax.evaluation.style import (
    LARGE,
    MUTED,
    NORMAL,
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

_COLUMNS = 7
_CELL = 1.45  # inches


def draw_reverse_process(
    path: str | os.PathLike, case: Case, timesteps: np.ndarray, noisy: np.ndarray, estimates: np.ndarray
) -> None:
    """Draws one sample over t, noise on the left and the mask on the right, with picture and truth in front.

    Args:
      path: of the PNG file.
      case: the image.
      timesteps: int [steps + 1], falling; the last entry is the end of the process, where no noise is left.
      noisy: float32 [steps + 1, h, w], x_t; the first is noise, the last the sample.
      estimates: float32 [steps, h, w], the estimate of x_0 made at each of the first `steps` timesteps, about [-1, 1].
    """
    steps = len(estimates)
    shown = np.unique(np.linspace(0, steps - 1, min(steps, _COLUMNS)).round().astype(int))
    shape = case.image.shape[:2]
    columns = len(shown) + 2
    figure = Figure(
        figsize=(max(_CELL * columns, 5.5) + 0.4, 2 * _CELL * shape[0] / shape[1] + 0.95), layout="compressed"
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0, hspace=0)
    axes = figure.subplots(2, columns, squeeze=False)
    show(axes[0, 0], case.image, shape)
    panel(axes[0, 0], "image")
    show(axes[1, 0], case.truth, shape, cmap="gray", vmin=0, vmax=1)
    panel(axes[1, 0])
    axes[1, 0].set_xlabel("truth", fontsize=SMALL, color=TEXT, labelpad=3)
    for column, step in zip(axes.T[1:-1], shown, strict=True):
        _show_noisy(column[0], noisy[step], shape)
        show(column[1], estimates[step], shape, cmap="gray", vmin=-1, vmax=1)
        panel(column[0], f"t = {int(timesteps[step])}")
        panel(column[1])
    _show_noisy(axes[0, -1], noisy[-1], shape)
    panel(axes[0, -1], "end")
    show(axes[1, -1], noisy[-1] > 0, shape, cmap="gray", vmin=0, vmax=1)
    outline(axes[1, -1], case.truth, shape, TRUTH)
    panel(axes[1, -1])
    axes[1, -1].set_xlabel("mask, truth outlined", fontsize=SMALL, color=TEXT, labelpad=3)
    axes[0, 1].set_ylabel("$x_t$", fontsize=NORMAL, color=TEXT)
    axes[1, 1].set_ylabel(r"estimate of $x_0$", fontsize=NORMAL, color=TEXT)
    figure.suptitle(
        f"Reverse process of {shorten(case.result.id, 30)}: {count(steps, 'step')}",
        fontsize=LARGE,
        color=TEXT,
    )
    figure.supxlabel(
        "$x_t$: each panel in its own range about 0; estimates of $x_0$: -1, black, to 1, white.",
        fontsize=SMALL,
        color=MUTED,
    )
    save_figure(figure, path)


def _show_noisy(axes, noisy: np.ndarray, shape: tuple[int, int]) -> None:
    # x_t starts as standard normal noise and may end as a mask of another scale, so no fixed range shows both.
    bound = max(float(np.percentile(np.abs(noisy), 99)), 1e-6)
    show(axes, noisy, shape, cmap="gray", vmin=-bound, vmax=bound)

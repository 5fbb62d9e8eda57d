"""All figures of an evaluation, from the numbers and a second look at the few images shown."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from ddim_jax.data import Example
from ddim_jax.evaluation.cases import make_case
from ddim_jax.evaluation.diagrams import draw_calibration, draw_scores
from ddim_jax.evaluation.pictures import draw_grid, draw_reverse_process, draw_strip
from ddim_jax.evaluation.scoring import ImageResult
from ddim_jax.inference import Segmenter
from ddim_jax.runtime.values import quantity
from ddim_jax.sampling_options import SamplingOptions

FIGURES = ("grid", "worst", "median", "reverse_process", "scores", "calibration")
_GRID_CASES = 5
_STRIP_CASES = 6


def draw_figures(
    segmenter: Segmenter,
    look: Callable[[int], Example],
    options: SamplingOptions,
    results: Sequence[ImageResult],
    folder: Path,
    metrics: dict[str, Any],
    bar: Progress,
) -> None:
    """Draws the figures named in `FIGURES` as PNG files into `folder`.

    Samples are not kept while a data set is scored, since those of a large one do not fit into memory. Sampling is
    deterministic, so the images shown are sampled again. A network without diffusion has no reverse process to draw.

    Args:
      segmenter: the checkpoint.
      look: gives the pair of a position in `results`.
      options: with which they were sampled.
      results: the numbers of the images scored.
      folder: made where it does not exist.
      metrics: the contents of `metrics.json`.
      bar: shows how far the second sampling is.
    """
    draw_scores(folder / "scores.png", results, metrics)
    draw_calibration(folder / "calibration.png", results, metrics)
    ranked = rank(results)
    groups = {
        "grid": spread(ranked, _GRID_CASES),
        "worst": ranked[:_STRIP_CASES],
        "median": middle(ranked, _STRIP_CASES),
    }
    cases = {}
    for position in bar.track(sorted(set().union(*groups.values())), description="figures"):
        example = look(position)
        estimates = segmenter.sample(example.image, options)
        cases[position] = make_case(example, estimates, results[position], options.ensemble, segmenter.labels)
    shown = {name: [cases[position] for position in positions] for name, positions in groups.items()}
    draw_grid(folder / "grid.png", shown["grid"])
    draw_strip(folder / "worst.png", shown["worst"], f"Lowest Dice of {quantity(len(results), 'image')}")
    draw_strip(folder / "median.png", shown["median"], f"About the median Dice of {quantity(len(results), 'image')}")
    if segmenter.one_pass or options.size == "tiles":
        return
    typical = middle(ranked, 1)[0]
    draw_reverse_process(
        folder / "reverse_process.png",
        cases[typical],
        *segmenter.trajectory(look(typical).image, options),
    )


def rank(results: Sequence[ImageResult]) -> list[int]:
    """Positions in `results` from the lowest to the highest Dice of the protocol 'mean'; equal ones stay in order."""
    return sorted(range(len(results)), key=lambda position: results[position].scores["mean"].dice)


def spread(ranked: Sequence[int], count: int) -> list[int]:
    """At most `count` of `ranked`, evenly from the last (best) to the first (worst)."""
    places = np.linspace(len(ranked) - 1, 0, min(count, len(ranked))).round()
    return [ranked[int(place)] for place in places]


def middle(ranked: Sequence[int], count: int) -> list[int]:
    """The `count` positions about the median rank (all where there are fewer)."""
    start = max(0, (len(ranked) - count) // 2)
    return list(ranked[start : start + count])

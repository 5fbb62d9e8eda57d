"""Pictures beside Table 1: all systems on the same images, and where they fail (the paper's Figures 4 and 5).

python -m benchmarks.table_figures --data ROOT... --budget SECONDS --size N [--seed 0] [--workdir runs/table1]

Looks for the runs that `benchmarks.table1` left for each data set, samples the shown images again with each of them,
and writes WORKDIR/figures/<data set>_side_by_side.png and <data set>_failures.png. Which images are shown follows from
the mean Dice over the systems: the best, the middle one and the one a tenth of the images are worse than side by side;
the four worst as failures.
"""

import argparse
import csv
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from configs.table1 import SYSTEMS
from ddim_jax import Segmenter, load_dataset
from ddim_jax.data import Source
from ddim_jax.evaluation.cases import Case, make_case
from ddim_jax.evaluation.scoring import score_image
from ddim_jax.evaluation.style import (
    LARGE,
    MUTED,
    PREDICTION,
    SMALL,
    TEXT,
    TRUTH,
    outline,
    panel,
    save_figure,
    shorten,
    show,
)
from ddim_jax.io.errors import InputError, report_input_errors
from ddim_jax.io.images import resize_mask

_SAMPLES, _FAILURES = 5, 4
_RANKS = (1.0, 0.5, 0.1)
"""Of the images side by side: shares of the images that are worse."""
_CELL = 1.15  # inches


@dataclasses.dataclass(frozen=True)
class Trained:
    """One system's run: its name, its folder, and the calibrated Dice of the images that were scored."""

    system: str
    folder: Path
    dice: Mapping[str, float]


def find_runs(workdir: Path, dataset: str, size: int, budget_s: float, seed: int) -> list[Trained]:
    """The evaluated runs of a data set, in the order of the systems.

    Raises:
      InputError: there is none, or one system has two of different settings.
    """
    found = []
    for system in SYSTEMS:
        pattern = f"{system}-{size}-{budget_s:g}s-seed{seed}-*"
        folders = [path.parents[2] for path in (workdir / dataset).glob(f"{pattern}/evaluation/test/per_image.csv")]
        if len(folders) > 1:
            raise InputError(f"{workdir / dataset}: {len(folders)} runs {pattern}; keep one and move the others away")
        for folder in folders:
            with open(folder / "evaluation" / "test" / "per_image.csv", newline="", encoding="utf-8") as file:
                dice = {row["id"]: float(row["calibrated_dice"]) for row in csv.DictReader(file)}
            found.append(Trained(system, folder, dice))
    if not found:
        raise InputError(
            f"{workdir / dataset} holds no evaluated run of {size} x {size}, {budget_s:g} s, seed {seed}; "
            "make it with python -m benchmarks.table1"
        )
    return found


def choose(runs: Sequence[Trained]) -> tuple[list[str], list[str]]:
    """The images to show side by side, from the best to the worst, and the failures, the worst first.

    Raises:
      InputError: no image was scored by all.
    """
    shared = set.intersection(*(set(run.dice) for run in runs))
    if not shared:
        raise InputError("no image was scored by all systems; evaluate them on the same pictures")
    ranked = sorted(shared, key=lambda name: (np.mean([run.dice[name] for run in runs]), name))
    places = dict.fromkeys(round(rank * (len(ranked) - 1)) for rank in _RANKS)
    return [ranked[place] for place in places], ranked[:_FAILURES]


def make_cases(run: Trained, source: Source, names: Sequence[str]) -> list[Case]:
    """Samples images again with the settings of the run's evaluation, which gives what was scored there."""
    segmenter = Segmenter.load(run.folder)
    settings = segmenter.settings()
    places = {name: index for index, name in enumerate(source.ids)}
    cases = []
    for name in names:
        example = source[places[name]]
        estimates = segmenter.sample(example.image)
        truth = resize_mask(example.mask, estimates.shape[1:])
        result = score_image(name, estimates, truth, settings.ensemble)
        cases.append(make_case(example, estimates, result, settings.ensemble))
    return cases


def draw_side_by_side(path: Path, cases: Mapping[str, Sequence[Case]], title: str) -> None:
    """A block of rows for each image: one row a system, with its samples, what they make together, their spread.

    Args:
      path: of the PNG file.
      cases: for each system its cases, of the same images in the same order.
      title: of the figure.
    """
    titles = ["image", "truth", *(f"sample {k + 1}" for k in range(_SAMPLES)), "ensemble", "uncertainty"]
    images = len(next(iter(cases.values())))
    rows = images * len(cases)
    figure = Figure(figsize=(_CELL * len(titles) + 1.6, _CELL * rows + 0.9), layout="compressed")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    axes = figure.subplots(rows, len(titles), squeeze=False)
    for place in range(images):
        for offset, (system, own) in enumerate(cases.items()):
            row, case = axes[place * len(cases) + offset], own[place]
            shape = case.image.shape[:2]
            if offset == 0:
                show(row[0], case.image, shape)
                show(row[1], case.truth, shape, cmap="gray", vmin=0, vmax=1)
            for cell, sample in zip(row[2:-2], case.samples, strict=False):
                show(cell, sample, shape, cmap="gray", vmin=0, vmax=1)
            show(row[-2], case.probability, shape, cmap="gray", vmin=0, vmax=1)
            outline(row[-2], case.truth, shape, TRUTH)
            show(row[-1], case.uncertainty, shape, cmap="magma", vmin=0, vmax=0.5)
            for cell in row:
                panel(cell)
                cell.set_axis_on() if cell.images else cell.set_axis_off()
            row[2].set_axis_on()
            row[2].set_ylabel(f"{system}\nDice {case.dice:.3f}", fontsize=SMALL - 1, color=TEXT, labelpad=3)
        axes[place * len(cases)][0].set_ylabel(shorten(own[place].result.id, 18), fontsize=SMALL, color=TEXT)
    for cell, text in zip(axes[0], titles, strict=True):
        cell.set_title(text, fontsize=SMALL, color=TEXT, pad=3)
    figure.suptitle(title, fontsize=LARGE, color=TEXT)
    figure.supxlabel(
        "Samples (of a network without diffusion: the mirror images) and ensemble: probability, 0 is black, 1 white. "
        "Orange: outline of the truth.\nUncertainty: standard deviation of the samples, 0 is black and 0.5 bright.",
        fontsize=SMALL,
        color=MUTED,
    )
    save_figure(figure, path)


def draw_failures(path: Path, cases: Mapping[str, Sequence[Case]], title: str) -> None:
    """One row an image, one column a system: outlines of truth and prediction on the picture; arguments as above."""
    first = next(iter(cases.values()))
    figure = Figure(figsize=(1.5 * _CELL * (len(cases) + 1) + 0.4, 1.6 * _CELL * len(first) + 0.9), layout="compressed")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    axes = figure.subplots(len(first), len(cases) + 1, squeeze=False)
    for place, row in enumerate(axes):
        shape = first[place].image.shape[:2]
        show(row[0], first[place].image, shape)
        panel(row[0], shorten(first[place].result.id, 22))
        for cell, (system, own) in zip(row[1:], cases.items(), strict=True):
            show(cell, own[place].image, shape)
            # The truth is the wider line, so that it shows on both sides where the two run together.
            outline(cell, own[place].truth, shape, TRUTH, width=2.4)
            outline(cell, own[place].prediction, shape, PREDICTION, width=1.0)
            dice = f"Dice {own[place].dice:.3f}"
            panel(cell, f"{system}\n{dice}" if place == 0 else dice)
    figure.suptitle(title, fontsize=LARGE, color=TEXT)
    figure.supxlabel("Orange: outline of the truth. Blue: outline of the prediction.", fontsize=SMALL, color=MUTED)
    save_figure(figure, path)


def draw(data: Path, workdir: Path, size: int, budget_s: float, seed: int) -> list[Path]:
    """Draws both figures of a data set; where they are.

    Raises:
      InputError: as `find_runs` and `choose`.
    """
    dataset = data.resolve().name
    runs = find_runs(workdir, dataset, size, budget_s, seed)
    side, failures = choose(runs)
    source = load_dataset("folder", "test", root=data)
    cases = {run.system: make_cases(run, source, [*side, *failures]) for run in runs}
    folder = workdir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{dataset}_side_by_side.png", folder / f"{dataset}_failures.png"]
    budget = f"{dataset}, {size} x {size}, {budget_s:g} s of training each"
    draw_side_by_side(paths[0], {name: own[: len(side)] for name, own in cases.items()}, budget)
    draw_failures(paths[1], {name: own[len(side) :] for name, own in cases.items()}, f"{budget}: the hardest images")
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, metavar="ROOT", help="folders with images and masks")
    parser.add_argument("--budget", type=float, required=True, metavar="SECONDS", help="of the runs")
    parser.add_argument("--size", type=int, required=True, metavar="N", help="of the runs")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the runs; default: 0")
    parser.add_argument("--workdir", default="runs/table1", metavar="DIR", help="of the runs; default: runs/table1")
    given = parser.parse_args(arguments)
    with report_input_errors():
        for root in given.data:
            for path in draw(Path(root), Path(given.workdir), given.size, given.budget, given.seed):
                print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())

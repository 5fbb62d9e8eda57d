"""Pictures beside Table 1: all systems on the same images, and where they fail (the paper's Figures 4 and 5).

python -m benchmarks.table_figures --data ROOT... --budget SECONDS --size N [--seed 0] [--workdir runs/table1]

Looks for the runs of the rows of Table 1 where `benchmarks.table1` left them, samples the shown images again with each
of them, and writes WORKDIR/figures/<data set>_side_by_side.png and <data set>_failures.png. Which images are shown
follows from the median of their Dice over the systems, among the images that all of them were scored on: the best, the
middle one and the one a tenth of the images are worse than side by side; the four worst as failures.
"""

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.result_file import read_rows
from benchmarks.table1 import OUTPUT
from benchmarks.table_folders import picture_scores
from benchmarks.table_rows import run_folder
from benchmarks.table_run import CONFIGS
from configs.table1 import SYSTEMS
from ddim_jax import Segmenter, load_dataset
from ddim_jax.aggregation import sample_probabilities
from ddim_jax.data import Source
from ddim_jax.evaluation.pictures import Case, make_case
from ddim_jax.evaluation.scoring import score_image
from ddim_jax.evaluation.style import (
    LARGE,
    MUTED,
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
from ddim_jax.imageio.images import resize_mask
from ddim_jax.runtime.errors import InputError, report_input_errors

_SAMPLES, _FAILURES = 5, 4
"""Samples of a network with diffusion, and images that fail."""
_RANKS = (1.0, 0.5, 0.1)
"""Of the images side by side: shares of the images that are worse."""
_CELL = 1.15  # inches


@dataclasses.dataclass(frozen=True)
class Trained:
    """One system's run: its name, its folder, and the calibrated Dice of the images that were scored."""

    system: str
    folder: Path
    dice: Mapping[str, float]


def find_runs(
    workdir: Path, rows: Sequence[Mapping[str, Any]], dataset: str, networks: str, size: int, budget_s: float, seed: int
) -> tuple[list[Trained], list[str]]:
    """The runs whose rows stand in Table 1, in the order of the systems, and the systems without one in `workdir`.

    Of a system that was trained again with other settings, the run of the row is taken and no other.

    Raises:
      InputError: there is no run, or there are runs of several devices.
    """
    asked = {"dataset": dataset, "networks": networks, "size": size, "budget_s": budget_s, "seed": seed}
    wanted = f"{networks} networks, {size} x {size}, {budget_s:g} s, seed {seed}"
    own = [row for row in rows if row["protocol"] == "calibrated" and asked.items() <= row.items()]
    found, devices = {}, set()
    for row in own:
        dice = picture_scores(row, workdir)
        if dice is not None:
            found[row["system"]] = Trained(row["system"], run_folder(workdir, row), dice)
            devices.add(row["device"])
    if not found:
        raise InputError(
            f"{workdir} holds no evaluated run of a row of {dataset} with {wanted}; make it with "
            "python -m benchmarks.table1"
        )
    if len(devices) > 1:
        raise InputError(
            f"{workdir / dataset}: the runs with {wanted} are of several devices ({', '.join(sorted(devices))}); keep "
            "those of one and move the others away"
        )
    missing = [system for system in SYSTEMS if system not in found]
    return [found[system] for system in SYSTEMS if system in found], missing


def choose(runs: Sequence[Trained]) -> tuple[list[str], list[str], int]:
    """The images to show side by side, from the best to the worst, the failures, the worst first, and out of how many.

    An image counts by its median Dice over the systems, so that one system far from the others does not choose alone.

    Raises:
      InputError: no image was scored by all.
    """
    shared = set.intersection(*(set(run.dice) for run in runs))
    if not shared:
        raise InputError("no image was scored by all systems; evaluate them on the same pictures")
    ranked = sorted(shared, key=lambda name: (np.median([run.dice[name] for run in runs]), name))
    places = dict.fromkeys(round(rank * (len(ranked) - 1)) for rank in _RANKS)
    return [ranked[place] for place in places], ranked[:_FAILURES], len(ranked)


def make_cases(run: Trained, source: Source, names: Sequence[str]) -> list[Case]:
    """Samples images again with the settings of the run's evaluation, which gives what was scored there.

    A network with diffusion that is scored with fewer than five samples shows five all the same: the others are further
    draws of the noise, which are in no score, no ensemble and no uncertainty. One without diffusion has no others.
    """
    segmenter = Segmenter.load(run.folder)
    options = segmenter.options()
    places = {name: index for index, name in enumerate(source.ids)}
    cases = []
    for name in names:
        example = source[places[name]]
        estimates = segmenter.sample(example.image)
        truth = resize_mask(example.mask, estimates.shape[1:])
        result = score_image(name, estimates, truth, options.ensemble)
        case = make_case(example, estimates, result, options.ensemble)
        if not segmenter.one_pass and options.samples < _SAMPLES:
            # Sample i does not depend on how many there are.
            further = segmenter.sample(example.image, samples=_SAMPLES)[options.samples :]
            samples = np.concatenate([case.samples, sample_probabilities(further)])
            case = dataclasses.replace(case, samples=samples)
        cases.append(case)
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
            drawn = case.samples[:_SAMPLES]
            for cell, sample in zip(row[2 : 2 + len(drawn)], drawn, strict=True):
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
        "Orange: outline of the truth.\nUncertainty: standard deviation of the samples, 0 is black and 0.5 bright. "
        "Dice, ensemble and uncertainty are of the samples the system is scored with.",
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


def draw(data: Path, given: argparse.Namespace, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Draws both figures of a data set; where they are. Which systems have no run to draw is said on the screen.

    Raises:
      InputError: as `find_runs` and `choose`.
    """
    dataset, workdir = data.resolve().name, Path(given.workdir)
    runs, missing = find_runs(workdir, rows, dataset, given.networks, given.size, given.budget, given.seed)
    if missing:
        print(f"{dataset}: left out, for {workdir} holds no run of a row of Table 1: {', '.join(missing)}")
    side, failures, among = choose(runs)
    source = load_dataset("folder", "test", root=data)
    cases = {run.system: make_cases(run, source, [*side, *failures]) for run in runs}
    folder = workdir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{dataset}_side_by_side.png", folder / f"{dataset}_failures.png"]
    budget = f"{dataset}, {given.size} x {given.size}, {given.budget:g} s of training each"
    chosen = f"by the median Dice of the systems, among {count(among, 'picture')} that all were scored on"
    top = f"{budget}\nfrom the best to a poor one {chosen}"
    draw_side_by_side(paths[0], {name: own[: len(side)] for name, own in cases.items()}, top)
    top = f"{budget}\nthe hardest {chosen}"
    draw_failures(paths[1], {name: own[len(side) :] for name, own in cases.items()}, top)
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, metavar="ROOT", help="folders with images and masks")
    parser.add_argument("--budget", type=float, required=True, metavar="SECONDS", help="of the runs")
    parser.add_argument("--size", type=int, required=True, metavar="N", help="of the runs")
    parser.add_argument("--networks", choices=tuple(CONFIGS), default="small", help="of the runs; default: small")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the runs; default: 0")
    parser.add_argument("--workdir", default="runs/table1", metavar="DIR", help="of the runs; default: runs/table1")
    parser.add_argument(
        "--table", type=Path, default=OUTPUT, metavar="FILE", help="with the rows; default: docs/results/table1.json"
    )
    given = parser.parse_args(arguments)
    with report_input_errors():
        if not given.table.exists():
            raise InputError(f"{given.table} does not exist; make it with python -m benchmarks.table1, or say --table")
        rows = read_rows(given.table)
        for root in given.data:
            for path in draw(Path(root), given, rows):
                print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())

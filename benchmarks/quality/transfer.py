"""Scores runs on the test images of their own source, and on whole folders of images from elsewhere.

python -m benchmarks.quality.transfer --runs RUN... [--against RUN...] --elsewhere FOLDER [--data FOLDER] [...]

All at the image's own size, the test split once for each row. RUN is trained on a folder with images and masks, whose
name is the data set's, or is a file of packed weights of one; all runs of a call are of one data set. Writes a row for
each run and source into docs/results/transfer.json and, with --against, what the first runs gain over those, image by
image and seed by seed, into docs/results/paired.json; `python -m benchmarks.render` puts the tables into the pages.
What the evaluations write stays in --workdir, images of the worst and the median masks among it: they show patients,
keep them out of the project.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, provenance
from benchmarks.quality.ablation import TOO_NARROW, gain_of
from benchmarks.quality.rows import about_training, area_interval, read_per_image, scores_of_images
from benchmarks.quality.runs import read_config
from benchmarks.result_file import add_row, read_rows, result_parser
from benchmarks.tables import (
    INPUT,
    Columns,
    Row,
    dice_of,
    groups_of,
    images_of,
    input_of,
    measured_at,
    over_seeds,
    seeds_of,
    table,
    with_augmentation,
)
from ddim_jax.cli.arguments import add_checkpoint_step
from ddim_jax.evaluation import evaluate_checkpoint
from ddim_jax.runtime.errors import InputError, report_input_errors

OUTPUT, PAIRED = (ROOT / "docs" / "results" / name for name in ("transfer.json", "paired.json"))
IDENTITY = ("dataset", "source", "system", "augmentation", "size", "stem", "train_steps", "seed")
RULES = {
    "source": "test: the test split of the folder that was trained on; elsewhere: all images of another folder",
    "dice_mean": "protocol mean, at each image's own size; dice_ci is a 95% percentile bootstrap over the images",
    "kept_dice": "when the most doubtful fifth of the images is set aside",
    "false_alarms": "images whose truth is empty and whose mask is not, of empty_truths",
    "doubt_correlation": "rank correlation of the doubt with Dice; of runs without a calibration (no area_coverage) of "
    "the doubt as the network has it; in rows of commits before 01b5ded, of the others, of that at a temperature",
    "area_coverage": "share of the images whose true area is in the calibrated interval; null: the run has none; "
    "area_coverage_ci is its 95% binomial interval",
    "area_width_share": "mean width of that interval, as a share of the image's pixels",
}
PAIRED_IDENTITY = ("dataset", "source", "systems", "augmentation", "size", "stem", "train_steps")
PAIRED_RULES = {
    "dice": "the mean over images and seeds, at each image's own size, protocol mean: of both systems; "
    "dice_of_seeds: of each seed",
    "gain": "the mean of the first less the second, the same image and seed; gain_ci: 95% percentile bootstrap over "
    "seeds and images, 5000 resamples",
    "train_steps": "of both systems: as many as take about equal time",
}


def row_of(metrics: Mapping[str, Any], per_image: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """The figures of a row, from the `metrics.json` and `per_image.csv` of an evaluation of one class."""
    scores = metrics["protocols"]["mean"]["per_image"]
    empty = [row for row in per_image if int(row["true_area"]) == 0]
    return {
        "n": metrics["images"],
        "step": metrics["step"],
        "evaluations": metrics["network_evaluations_per_image"],
        "dice_mean": scores["dice"]["mean"],
        "dice_ci": [scores["dice"]["low"], scores["dice"]["high"]],
        "recall_mean": scores["recall"]["mean"],
        "precision_mean": scores["precision"]["mean"],
        "kept_dice": metrics["risk_coverage"]["kept_dice"],
        "doubt_correlation": metrics["doubt"]["rank_correlation_with_dice"],
        "ece": metrics["calibration"]["ece"],
        "empty_truths": len(empty),
        "false_alarms": sum(int(row["area"]) > 0 for row in empty),
        **area_interval(metrics),
    }


def about_run(run: Path, data: Path | None) -> dict[str, Any]:
    """The fields of a row that say which run it is of; packed weights do not say where their images lay."""
    config = read_config(run)
    return {"dataset": Path(data or config["data"]["root"]).resolve().name, **about_training(config)}


Scored = tuple[dict[str, Any], dict[str, float]]
"""The row of a run on a source, and the Dice of each of its images."""


def score(run: Path, data: Path | None, elsewhere: Path, workdir: Path, step: str | int = "best") -> list[Scored]:
    """Evaluates one run on both sources.

    Args:
      run: a run of train.py.
      data: where the images of the training lie; None for where they lay then.
      elsewhere: a folder with images and masks, all of which are scored.
      workdir: a folder for what the evaluations write.
      step: of the run, as for `evaluate_checkpoint`.

    Raises:
      InputError: as `ddim_jax.evaluation.evaluate_checkpoint`.
    """
    about = about_run(run, data)
    rows = []
    for source, split, root in (("test", "test", data), ("elsewhere", "all", elsewhere)):
        output = workdir / f"{run.resolve().name}_{source}"
        metrics, _ = evaluate_checkpoint(run, split, output_dir=output, data_root=root, resolution="native", step=step)
        row = about | {"source": source} | row_of(metrics, read_per_image(output)) | provenance()
        rows.append((row, scores_of_images(output)))
    return rows


def check_pairs(runs: Sequence[Path], against: Sequence[Path], data: Path | None) -> None:
    """Refuses runs that cannot be compared in pairs, before any is evaluated.

    Raises:
      InputError: the n-th of `against` is not of the seed, images, size and augmentation of the n-th of `runs`.
    """
    if against and len(runs) != len(against):
        raise InputError(f"--against has {len(against)} runs and --runs {len(runs)}; expected one for each")
    for run, other in zip(runs, against, strict=bool(against)):
        found = about_run(other, data)
        for name, value in about_run(run, data).items():
            if name in ("dataset", "augmentation", "size", "stem", "seed") and value != found[name]:
                raise InputError(
                    f"{other}: {name} is {found[name]}; expected {value}, as of {run}, which stands at the "
                    "same place of --runs"
                )


def pair(ours: Sequence[Scored], theirs: Sequence[Scored]) -> dict[str, Any]:
    """The row of docs/results/paired.json: what runs gain over others of the same seeds on one source."""
    first, second = ours[0][0], theirs[0][0]
    return {
        **{name: first[name] for name in ("dataset", "source", "augmentation", "size", "stem", "n")},
        "systems": [first["system"], second["system"]],
        "train_steps": [first["train_steps"], second["train_steps"]],
        "seeds": [row["seed"] for row, _ in ours],
        **gain_of([[of_picture for _, of_picture in side] for side in (ours, theirs)], of=0),
        **provenance(),
    }


def transfer(root: Path) -> str:
    """The external images of docs/results/transfer.json, a line for the seeds of one network.

    The test splits stand in the table of `benchmarks.quality.accuracy`.
    """
    rows = [row for row in read_rows(root / "docs" / "results" / "transfer.json") if row["source"] == "elsewhere"]
    fields = ("dataset", "size", "stem", "augmentation", "system", "train_steps")
    rows.sort(key=lambda row: [row[name] for name in (*fields, "seed")])
    lines = [seeds[0] | {"rows": seeds} for seeds in groups_of(rows, fields)]
    return f"{table(_COLUMNS, lines)}\nCommits: in `transfer.json`.\n"


def paired(root: Path) -> str:
    """The table of docs/results/paired.json."""
    rows = read_rows(root / "docs" / "results" / "paired.json")
    return table(_PAIRED, rows) + TOO_NARROW + measured_at(rows, "Evaluated")


_PAIRED: Columns = {
    "images": images_of,
    "n": "{n}",
    INPUT: input_of,
    "seeds": lambda row: ", ".join(map(str, row["seeds"])),
    "networks": lambda row: " - ".join(with_augmentation(row | {"system": name}) for name in row["systems"]),
    "steps": lambda row: " and ".join(map(str, row["train_steps"])),
    "Dice of the first": "{dice[0]:.4f}",
    "of the second": "{dice[1]:.4f}",
    "difference, bootstrap interval": "{gain:+.4f} [{gain_ci[0]:+.4f}, {gain_ci[1]:+.4f}]",
}


def _false_positives(line: Row) -> str:
    seeds = ", ".join(str(row["false_alarms"]) for row in line["rows"])
    return f"{seeds} of {line['empty_truths']}" if line["empty_truths"] else ""


def _mean(field: str, digits: int = 3) -> Callable[[Row], str]:
    return lambda line: over_seeds(line["rows"], field, digits)


_COLUMNS: Columns = {
    "external images of": "{dataset}",
    "n": "{n}",
    "network": with_augmentation,
    INPUT: input_of,
    "steps, last part": "{train_steps}",
    "seeds": seeds_of,
    "Dice": dice_of,
    "recall": _mean("recall_mean"),
    "precision": _mean("precision_mean"),
    "Dice, 20% most doubtful removed": _mean("kept_dice"),
    "Spearman's rho, doubt and Dice": _mean("doubt_correlation", 2),
    "false positives on empty images": _false_positives,
    "coverage of the area interval": _mean("area_coverage", 2),
    "its mean width, share of the pixels": _mean("area_width_share"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = result_parser(__doc__, OUTPUT, "runs/transfer")
    parser.add_argument("--runs", nargs="+", required=True, type=Path, metavar="RUN", help="runs of train.py")
    parser.add_argument("--against", nargs="+", default=[], type=Path, metavar="RUN", help="a run for each, same seeds")
    add_checkpoint_step(parser)
    parser.add_argument("--elsewhere", required=True, type=Path, metavar="FOLDER", help="images and masks to score")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="of the training, where it lies elsewhere now")
    parser.add_argument("--paired", type=Path, default=PAIRED, metavar="FILE", help="default: docs/results/paired.json")
    given = parser.parse_args(arguments)
    with report_input_errors("stopped"):
        check_pairs(given.runs, given.against, given.data)
        scored: list[list[Scored]] = []
        for run in [*given.runs, *given.against]:
            scored.append(score(run, given.data, given.elsewhere, given.workdir, given.checkpoint_step))
            for row, _ in scored[-1]:
                add_row(given.output, RULES, row, IDENTITY)
                print(f"{run}, {row['source']}: Dice {row['dice_mean']:.3f} of {row['n']} images", flush=True)
        for of_source in zip(*scored, strict=True) if given.against else ():
            row = pair(of_source[: len(given.runs)], of_source[len(given.runs) :])
            add_row(given.paired, PAIRED_RULES, row, PAIRED_IDENTITY)
            print("{source}: gain {gain:+.4f} {gain_ci}".format_map(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

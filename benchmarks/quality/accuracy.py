"""Scores the network of a run, for docs/results/accuracy.json.

python -m benchmarks.quality.accuracy --runs RUN... --budget SECONDS [--checkpoint-step STEP]

Each RUN is of train.py: a small network on a folder with images and masks, whose name is the data set's; --budget says
what its steps cost on an idle machine. It is calibrated on its validation split; the test split is scored once, at each
image's own size. The time of a step by the U-Net's is that of docs/results/costs.json (`python -m
benchmarks.quality.costs`). `python -m benchmarks.render` puts the table into the pages.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, measured_on, parameters
from benchmarks.quality import costs
from benchmarks.quality.rows import about_training, area_interval
from benchmarks.quality.runs import read_config
from benchmarks.result_file import add_row, identity, read_rows, result_parser
from benchmarks.tables import (
    INPUT,
    Columns,
    Row,
    dice_of,
    distinct,
    groups_of,
    input_of,
    over_seeds,
    seeds_of,
    table,
    with_augmentation,
)
from ddim_jax.cli.arguments import add_checkpoint_step
from ddim_jax.config import with_added
from ddim_jax.evaluation import evaluate_checkpoint
from ddim_jax.runtime.errors import report_input_errors
from ddim_jax.schema import SCHEMA

OUTPUT = ROOT / "docs" / "results" / "accuracy.json"
IDENTITY = ("dataset", "system", "augmentation", "size", "stem", "budget_s", "steps", "seed")
RULES = {
    "dice_mean": "test split, protocol mean, at each image's own size; dice_ci is a 95% bootstrap over the images",
    "dice_val": "the same of the validation split",
    "budget_s": "seconds of training on the idle machine of the first measurements, at its time of a step",
    "train_step_ratio_to_unet": "train_step of costs.json for this system, size and stem; null: not timed there",
    "evaluations": "of the network for an image: steps x samples",
    "area_coverage": "share of the test images whose true area is in the interval that is made for 90%; "
    "area_coverage_ci is its 95% binomial interval",
    "area_width_share": "mean width of that interval, as a share of the image's pixels",
}


def step_ratio(system: str, size: int, stem: int, timed: Path = costs.OUTPUT) -> float | None:
    """The time of a training step by the small U-Net's, of the file `timed`; None where it has not such a network."""
    rows = [row for row in read_rows(timed) if identity(row, costs.IDENTITY) == (system, size, stem, 4)]
    return rows[0]["train_step"] if rows else None


def row_of(run: Path, budget_s: float, workdir: Path, step: str | int = "best") -> dict[str, Any]:
    """Evaluates one run, the checkpoint of that step; its row.

    Raises:
      InputError: as `ddim_jax.evaluation.evaluate_checkpoint`.
    """
    config = with_added(read_config(run), SCHEMA)
    output = workdir / run.resolve().name
    about = about_training(config)
    steps, network = about.pop("train_steps"), [about[name] for name in ("system", "size", "stem")]
    val, _ = evaluate_checkpoint(run, "val", output_dir=output / "val", calibrate=0.9, step=step)
    test, _ = evaluate_checkpoint(run, "test", output_dir=output / "test", step=step)
    dice = test["protocols"]["mean"]["per_image"]["dice"]
    return {
        "dataset": Path(config["data"]["root"]).name,
        **about,
        "budget_s": budget_s,
        "steps": steps,
        "parameters": parameters(config),
        "train_step_ratio_to_unet": step_ratio(*network),
        "n": test["images"],
        "dice_mean": dice["mean"],
        "dice_ci": [dice["low"], dice["high"]],
        "dice_val": val["protocols"]["mean"]["per_image"]["dice"]["mean"],
        "evaluations": test["network_evaluations_per_image"],
        "ece": test["calibration"]["ece"],
        **area_interval(test),
        **measured_on(),
    }


def accuracy(root: Path) -> str:
    """The table of docs/results/accuracy.json, a line for the seeds of one training."""
    rows = read_rows(root / "docs" / "results" / "accuracy.json")
    trainings = groups_of(sorted(rows, key=lambda row: [row[name] for name in _TRAINING] + [row["seed"]]), _TRAINING)
    sizes = distinct("`{system}`, stem {stem}: {parameters:,}".format_map(row) for seeds in trainings for row in seeds)
    lines = table(_COLUMNS, [seeds[0] | {"rows": seeds} for seeds in trainings])
    return f"{lines}\nParameters: {'; '.join(sizes)}. Commits: in `accuracy.json`.\n"


def choices(root: Path) -> str:
    """Minutes of training and Dice of what a user chooses between, from docs/results/accuracy.json."""
    rows = [row for row in read_rows(root / "docs" / "results" / "accuracy.json") if row["augmentation"] == "strong"]
    lines = []
    for form, config in _CHOICES.items():
        own = [row for row in rows if identity(row, ("system", "size", "stem", "budget_s")) == form]
        if own:
            lines.append({"config": config, "minutes": own[0]["budget_s"] / 60, "rows": own})

    def dice_on(dataset: str) -> Callable[[Row], str]:
        return lambda line: over_seeds(
            [row for row in line["rows"] if row["dataset"] == dataset], "dice_mean"
        ).partition(" ")[0]

    columns: Columns = {
        "config": "{config}",
        "training, minutes of two idle cores": "{minutes:.0f}",
        "Dice, lungs": dice_on("lung_xray"),
        "Dice, skin lesions": dice_on("skin_lesion"),
        "Dice, polyps": dice_on("polyp"),
    }
    return table(columns, lines)


_CHOICES = {
    ("trunk_ddim", 64, 2, 377.0): "`folder`; `skin`, `polyp`",
    ("trunk_ddim", 128, 2, 780.0): "the same, then 128 x 128 with 2000 steps",
    ("unet", 64, 2, 360.0): "`folder`; `skin`, `polyp` with `--config.model.name=unet --config.train.steps=9146`",
    ("trunk_ddim", 64, 2, 356.0): "with `--config.train.steps=14000`, faster kernels",
    ("trunk_ddim", 128, 2, 1106.0): "the same, then 128 x 128 with 6000 steps",
    ("unet", 64, 2, 350.0): "with `--config.model.name=unet --config.train.steps=16800`, faster kernels",
}
"""Systems, sizes, stems and budgets, in words."""
_TRAINING = ("dataset", "size", "stem", "augmentation", "system", "budget_s")
_COLUMNS: Columns = {
    "images": "{dataset}",
    "network": with_augmentation,
    INPUT: input_of,
    "training time, all parts": "{budget_s:.0f} s",
    "steps, last part": "{steps}",
    "seeds": seeds_of,
    "Dice, test": dice_of,
    "Dice, validation": lambda line: over_seeds(line["rows"], "dice_val"),
    "ECE": lambda line: over_seeds(line["rows"], "ece"),
    "coverage of the area interval": lambda line: over_seeds(line["rows"], "area_coverage", 2),
    "its mean width, share of the pixels": lambda line: over_seeds(line["rows"], "area_width_share"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = result_parser(__doc__, OUTPUT, "runs/accuracy")
    parser.add_argument("--runs", nargs="+", required=True, type=Path, metavar="RUN", help="runs of train.py")
    parser.add_argument("--budget", required=True, type=float, metavar="SECONDS", help="what their training is worth")
    add_checkpoint_step(parser)
    given = parser.parse_args(arguments)
    with report_input_errors("stopped"):
        for run in given.runs:
            row = row_of(run, given.budget, given.workdir, given.checkpoint_step)
            add_row(given.output, RULES, row, IDENTITY)
            print(f"{run}: Dice {row['dice_mean']:.3f} of {row['n']} images", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Scores the network of a run and times it beside a plain U-Net, for docs/results/accuracy.json.

python -m benchmarks.quality.accuracy --runs RUN... --budget SECONDS [--checkpoint-step STEP] [--repeats N]

Each RUN is of train.py: a small network on a folder with images and masks, whose name is the data set's; --budget says
what its steps cost on an idle machine. It is calibrated on its validation split; the test split is scored once, at each
image's own size. Training steps and evaluations of one image (all its samples) are timed in turns with those of the
small U-Net, compiled before; the ratio is that of the medians. `python -m benchmarks.render` puts the table into the
pages.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, measured_on, parameters
from benchmarks.quality.costs import evaluation, ratio, training_step
from benchmarks.quality.runs import augmentation_of, read_config, with_augmentation
from benchmarks.result_file import add_row, read_rows
from benchmarks.tables import Columns, dice_of, distinct, groups_of, over_seeds, seeds_of, table
from configs import fast
from ddim_jax.cli.arguments import add_checkpoint_step
from ddim_jax.config import resolve_config, with_added
from ddim_jax.evaluation import evaluate_checkpoint
from ddim_jax.runtime.errors import report_input_errors
from ddim_jax.schema import SCHEMA

OUTPUT = ROOT / "docs" / "results" / "accuracy.json"
IDENTITY = ("dataset", "system", "augmentation", "size", "budget_s", "steps", "seed")
RULES = {
    "dice_mean": "test split, protocol mean, at each image's own size; dice_ci is a 95% bootstrap over the images",
    "dice_val": "the same of the validation split",
    "budget_s": "seconds of training on the idle machine of the first measurements, at its time of a step",
    "train_step_ratio_to_unet": "median time of a training step with augmentation and optimiser, timed in turns; null: "
    "not timed, as other seeds of a network that was, or of crops or with images without masks",
    "evaluation_ratio_to_unet": "the same of one image with all its samples",
    "evaluations": "of the network for an image: steps x samples",
    "area_coverage": "share of the test images whose true area is in the interval that is made for 90%",
}


def costs(config: Mapping[str, Any], repeats: int) -> dict[str, Any]:
    """The parameters of a resolved config's network, and its times beside those of a U-Net."""
    plain = as_unet(config)
    return {
        "parameters": parameters(config),
        "train_step_ratio_to_unet": ratio(training_step(config), training_step(plain), repeats) if repeats else None,
        "evaluation_ratio_to_unet": ratio(evaluation(config), evaluation(plain), repeats) if repeats else None,
    }


def as_unet(config: Mapping[str, Any]) -> dict[str, Any]:
    """The small U-Net as configs/fast.py has it, on the images and with the augmentation of a resolved config."""
    plain = fast.get_config()
    plain.model.name = "unet"
    plain.data.update(config["data"])
    plain.train.batch_size, plain.train.steps = config["train"]["batch_size"], 1000
    return resolve_config(plain)


def row_of(run: Path, budget_s: float, repeats: int, workdir: Path, step: str | int = "best") -> dict[str, Any]:
    """Evaluates and times one run, the checkpoint of that step; its row.

    Raises:
      InputError: as `ddim_jax.evaluation.evaluate_checkpoint`.
    """
    config = with_added(read_config(run), SCHEMA)
    output = workdir / run.resolve().name
    val, _ = evaluate_checkpoint(run, "val", output_dir=output / "val", calibrate=0.9, step=step)
    test, _ = evaluate_checkpoint(run, "test", output_dir=output / "test", step=step)
    dice = test["protocols"]["mean"]["per_image"]["dice"]
    return {
        "dataset": Path(config["data"]["root"]).name,
        "system": config["model"]["name"],
        "augmentation": augmentation_of(config),
        "size": config["data"]["image_size"],
        "budget_s": budget_s,
        "steps": config["train"]["steps"],
        "seed": config["seed"],
        **costs(config, repeats),
        "n": test["images"],
        "dice_mean": dice["mean"],
        "dice_ci": [dice["low"], dice["high"]],
        "dice_val": val["protocols"]["mean"]["per_image"]["dice"]["mean"],
        "evaluations": test["network_evaluations_per_image"],
        "ece": test["calibration"]["ece"],
        "area_coverage": next(iter(test["bounds"]["classes"].values()))["area"]["coverage"],
        **measured_on(),
    }


def accuracy(root: Path) -> str:
    """The table of docs/results/accuracy.json, a line for the seeds of one training, and its timings in a sentence."""
    rows = read_rows(root / "docs" / "results" / "accuracy.json")
    trainings = groups_of(sorted(rows, key=lambda row: [row[name] for name in _TRAINING] + [row["seed"]]), _TRAINING)
    lines = [seeds[0] | {"rows": seeds} for seeds in trainings]
    sizes = distinct(f"`{row['system']}` {row['parameters']:,}" for row in rows)
    timed = "; ".join(
        f"{row['dataset']} {row['size']}, {with_augmentation(row)} {row['train_step_ratio_to_unet']:.2f} and "
        f"{row['evaluation_ratio_to_unet']:.2f}"
        for seeds in trainings
        for row in seeds
        if row["train_step_ratio_to_unet"]
    )
    return (
        f"{table(_COLUMNS, lines)}\nParameters: {', '.join(sizes)}. A training step and an image by those of the small "
        f"U-Net, timed in turns with it: {timed}. Commits: in `accuracy.json`.\n"
    )


_TRAINING = ("dataset", "size", "augmentation", "system", "budget_s")
_COLUMNS: Columns = {
    "images": "{dataset}",
    "network": with_augmentation,
    "input size": "{size}",
    "training time, all parts": "{budget_s:.0f} s",
    "steps, last part": "{steps}",
    "seeds": seeds_of,
    "Dice, test": dice_of,
    "Dice, validation": lambda line: over_seeds(line["rows"], "dice_val"),
    "ECE": lambda line: over_seeds(line["rows"], "ece"),
    "coverage of the area interval": lambda line: over_seeds(line["rows"], "area_coverage", 2),
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", required=True, type=Path, metavar="RUN", help="runs of train.py")
    parser.add_argument("--budget", required=True, type=float, metavar="SECONDS", help="what their training is worth")
    add_checkpoint_step(parser)
    parser.add_argument("--repeats", type=int, default=15, metavar="N", help="turns of timing (%(default)s); 0: none")
    parser.add_argument("--workdir", type=Path, default=Path("runs/accuracy"), metavar="DIR", help="%(default)s")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE", help="docs/results/accuracy.json")
    given = parser.parse_args(arguments)
    with report_input_errors("stopped"):
        for run in given.runs:
            row = row_of(run, given.budget, given.repeats, given.workdir, given.checkpoint_step)
            add_row(given.output, RULES, row, IDENTITY)
            print(f"{run}: Dice {row['dice_mean']:.3f} of {row['n']} images", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

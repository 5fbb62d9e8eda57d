"""Trains one config with and without a change, on several sets from several seeds, and compares image by image.

python -m benchmarks.quality.ablation --change FIELD=VALUE --data FOLDER... [--system NAME] [--steps N] [--seeds N...]

FIELD is one of the config, as `train.adversarial_epsilon`. Each FOLDER has images, masks and a splits.csv. Both
sides: configs/folder.py, the same steps, seeds, images and augmentation. The validation split picks the checkpoint,
and a change is chosen by it; the test split is scored once for each row. Both are scored at each image's own size.
Writes docs/results/ablations.json; `python -m benchmarks.render` puts the table into the pages. A run that is there
already is not trained again. What the evaluations write shows patients: keep DIR out of the project.
"""

import argparse
import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import ROOT, measured_on, parameters
from benchmarks.quality.costs import evaluation, ratio, training_step
from benchmarks.quality.rows import scores_of_images
from benchmarks.quality.runs import check_names, run_resumable
from benchmarks.quality.trainings import folder_config_of, train_to_end, training_parser
from benchmarks.result_file import add_row, read_rows
from benchmarks.tables import Columns, Row, measured_at, table
from ddim_jax.config import resolve_config
from ddim_jax.evaluation import evaluate_checkpoint
from ddim_jax.runtime.errors import InputError, report_input_errors

OUTPUT = ROOT / "docs" / "results" / "ablations.json"
TOO_NARROW = (
    "\nIntervals: 95% bootstrap over images and seeds. Of one seed they say nothing of another training; of three they "
    "are too narrow where trainings differ.\n"
)
"""Stands under the tables of `paired_interval`."""
IDENTITY = ("change", "dataset", "system", "size", "rotation", "steps", "seeds")
_OF_OPTIONS = ("seed", "model.name", "data.name", "data.root", "data.image_size", "data.rotation_degrees")
_OF_OPTIONS += ("train.steps", "train.epochs", "train.checkpoint_every")
_PATHS = ("data.unlabelled", "data.cache_dir", "train.init_from")
RULES = {
    "dice": "test split, protocol mean, at each image's own size, the mean over images and seeds: without the "
    "change, and with it; dice_of_seeds: of each seed",
    "gain": "the mean over images and seeds of the difference, the same seed on both sides; gain_ci: 95% percentile "
    "bootstrap over seeds and images, 5000 resamples",
    "dice_val": "validation split at its own size, without and with",
    "parameters": "without and with",
    "train_step_ratio": "median time of a training step with the change by that without, timed in turns; "
    "null: one of them is of crops, which is not timed",
    "evaluation_ratio": "the same of one image with all its samples",
}


def changed(config: Any, change: str) -> Any:
    """`config` after FIELD=VALUE, in itself.

    Raises:
      InputError: there is no such field, it has another type, or the command itself sets it.
    """
    field, _, text = change.partition("=")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        value = text
    *path, last = field.split(".")
    section = config
    for name in path:
        section = section.get(name) if hasattr(section, "get") else None
    if not text or not hasattr(section, "get") or last not in section or hasattr(section[last], "get"):
        raise InputError(f"--change is {change}; expected FIELD=VALUE with a field of configs/folder.py")
    if field in _OF_OPTIONS:
        raise InputError(f"--change is {change}; expected another field: the options of this command decide {field}")
    if field in _PATHS:
        raise InputError(f"--change is {change}; expected another field: a path would be published with the row")
    try:
        section[last] = value
    except (TypeError, ValueError) as error:
        raise InputError(f"--change is {change}; expected a value of another type: {error}") from error
    return config


def config_of(data: Path, given: argparse.Namespace, seed: int, change: str | None) -> Any:
    """The config of a run; `change` None for the side without it."""
    config = folder_config_of(data, given, seed, rotation=given.rotation, validations=4)
    return changed(config, change) if change else config


def scored(data: Path, given: argparse.Namespace, seed: int, change: str | None) -> tuple[float, dict[str, float]]:
    """Trains and scores a run: the mean Dice of the validation split, and that of each test image."""
    kind = "with_" + change.replace("/", "_") if change else "without"
    about = data.resolve().name, given.system, given.size, f"{given.rotation:g}", given.steps, seed, kind
    run = given.workdir / "_".join(map(str, about))
    train_to_end(config_of(data, given, seed, change), run)
    val, _ = evaluate_checkpoint(run, "val", output_dir=run / "val")
    evaluate_checkpoint(run, "test", output_dir=run / "test")
    return val["protocols"]["mean"]["per_image"]["dice"]["mean"], scores_of_images(run / "test")


def paired_interval(differences: np.ndarray, resamples: int = 5000) -> tuple[float, float]:
    """95% percentile bootstrap interval of the mean of [seeds, images], both drawn with replacement.

    All seeds of a resample see the same drawn images. With few seeds it is too narrow where these differ: of three the
    bootstrap draws a variance that is 2/3 of the unbiased estimate.
    """
    rng, (seeds, pictures) = np.random.default_rng(0), differences.shape
    means = np.empty(resamples)
    for index in range(resamples):
        rows, columns = rng.integers(0, seeds, seeds), rng.integers(0, pictures, pictures)
        means[index] = differences[rows][:, columns].mean()
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def gain_of(sides: Sequence[Sequence[Mapping[str, float]]], of: int) -> dict[str, Any]:
    """The fields of a row on two sides: their Dice, and the gain of side number `of` over the other.

    Args:
      sides: both, each a Dice by the image's name for each seed, on the same images from the same seeds.
      of: 0 or 1.
    """
    names = sorted(sides[0][0])
    dice = np.array([[[of_picture[name] for name in names] for of_picture in side] for side in sides])
    differences = dice[of] - dice[1 - of]
    return {
        "dice": dice.mean(axis=(1, 2)).tolist(),
        "dice_of_seeds": dice.mean(axis=2).tolist(),
        "gain": float(differences.mean()),
        "gain_ci": list(paired_interval(differences)),
    }


def row_of(data: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Trains, scores and times both sides of all seeds; the row of a data set."""
    sides = [[scored(data, given, seed, change) for seed in given.seeds] for change in (None, given.change)]
    configs = [resolve_config(config_of(data, given, 0, change)) for change in (None, given.change)]
    (step_before, step), (picture_before, picture) = (
        [make(config) for config in configs] for make in (training_step, evaluation)
    )
    return {
        "change": given.change,
        "dataset": data.resolve().name,
        "system": given.system,
        "size": given.size,
        "rotation": given.rotation,
        "steps": given.steps,
        "seeds": given.seeds,
        "n": len(sides[0][0][1]),
        **gain_of([[of_picture for _, of_picture in side] for side in sides], of=1),
        "dice_val": [float(np.mean([value for value, _ in side])) for side in sides],
        "parameters": [parameters(config) for config in configs],
        "train_step_ratio": ratio(step, step_before, given.repeats),
        "evaluation_ratio": ratio(picture, picture_before, given.repeats),
        **measured_on(),
    }


def ablations(root: Path) -> str:
    """The table of docs/results/ablations.json."""
    rows = read_rows(root / "docs" / "results" / "ablations.json")
    return table(_COLUMNS, rows) + TOO_NARROW + measured_at(rows)


def _more(row: Row) -> str:
    before, after = row["parameters"]
    return f"{before:,} + {after - before:,}"


_COLUMNS: Columns = {
    "change": "`{change}`",
    "images": "{dataset}",
    "network": "`{system}`",
    "input size": "{size}",
    "rotation, degrees": "{rotation:g}",
    "steps": "{steps}",
    "seeds": lambda row: f"{len(row['seeds'])}",
    "gain in validation": lambda row: f"{row['dice_val'][1] - row['dice_val'][0]:+.3f}",
    "n": "{n}",
    "Dice without": "{dice[0]:.3f}",
    "Dice with": "{dice[1]:.3f}",
    "gain, bootstrap interval": "{gain:+.3f} [{gain_ci[0]:+.3f}, {gain_ci[1]:+.3f}]",
    "parameters": _more,
    "time of a step, ratio": "{train_step_ratio:.2f}",
    "time of an image, ratio": "{evaluation_ratio:.2f}",
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = training_parser(__doc__, OUTPUT, "runs/ablations", seeds=(0, 1, 2))
    parser.add_argument("--change", required=True, metavar="FIELD=VALUE", help="train.adversarial_epsilon=0.0078")
    parser.add_argument("--data", nargs="+", required=True, type=Path, metavar="FOLDER", help="with splits.csv")
    parser.add_argument("--rotation", type=float, default=20.0, metavar="DEGREES", help="180 where no side is up")
    parser.add_argument("--repeats", type=int, default=15, metavar="N", help="turns of the timing (%(default)s)")
    given = parser.parse_args(arguments)
    check_names(parser, given.data)
    with report_input_errors():
        resolve_config(config_of(given.data[0], given, 0, given.change))  # refused before anything is trained
        for data in given.data:
            row: Mapping[str, Any] = row_of(data, given)
            add_row(given.output, RULES, row, IDENTITY)
            print("{dataset}: {change} gains {gain:+.4f} {gain_ci}".format_map(row), flush=True)
    return 0


if __name__ == "__main__":
    run_resumable(main)

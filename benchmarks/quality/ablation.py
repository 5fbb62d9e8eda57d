"""Trains one config with and without a change, on several sets from several seeds, and compares picture by picture.

python -m benchmarks.quality.ablation --change FIELD=VALUE --data FOLDER... [--system NAME] [--steps N] [--seeds N...]

FIELD is one of the config, as `model.overrides.attention=dual`. Each FOLDER has images, masks and a splits.csv. Both
sides: configs/folder.py, the same steps, seeds, pictures and augmentation; the validation split picks the checkpoint;
the test split is scored once for each row, at each picture's own size. Writes docs/results/ablations.json;
`python -m benchmarks.render` puts the table into the pages. A run that is there already is not trained again. What the
evaluations write shows patients: keep DIR out of the project.
"""

import argparse
import ast
import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.machine import ROOT, device_in_words, provenance
from benchmarks.quality.accuracy import evaluation, ratio, training_step
from benchmarks.quality.runs import run_resumable
from benchmarks.result_file import add_row, read_rows
from benchmarks.tables import Columns, Row, distinct, of_commit, table
from configs import folder as folder_config
from ddim_jax.config import resolve_config
from ddim_jax.evaluation import evaluate_checkpoint
from ddim_jax.runtime.errors import InputError, report_input_errors
from ddim_jax.training import train

OUTPUT = ROOT / "docs" / "results" / "ablations.json"
IDENTITY = ("change", "dataset", "system", "size", "steps")
RULES = {
    "dice": "test split, protocol mean, at each picture's own size, the mean over pictures and seeds: without the "
    "change, and with it; dice_of_seeds: of each seed",
    "gain": "the mean over pictures and seeds of the difference, the same seed on both sides; gain_ci: 95% percentile "
    "bootstrap over seeds and pictures, 5000 resamples",
    "dice_val": "validation split at its own size, without and with",
    "parameters": "without and with",
    "train_step_ratio": "median time of a training step with the change by that without, timed in turns",
    "evaluation_ratio": "the same of one picture with all its samples",
}


def changed(config: Any, change: str) -> Any:
    """`config` after FIELD=VALUE, in itself.

    Raises:
      InputError: there is no such field.
    """
    field, _, text = change.partition("=")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    *path, last = field.split(".")
    section = config
    for name in path:
        section = section.get(name) if hasattr(section, "get") else None
    if not text or not hasattr(section, "get") or last not in section:
        raise InputError(f"--change is {change}; expected FIELD=VALUE with a field of configs/folder.py")
    section[last] = value
    return config


def config_of(data: Path, given: argparse.Namespace, seed: int, change: str | None) -> Any:
    """The config of a run; `change` None for the side without it."""
    config = folder_config.get_config()
    config.model.name, config.seed = given.system, seed
    config.data.root, config.data.image_size = str(data), given.size
    config.data.rotation_degrees = given.rotation
    config.train.steps, config.train.checkpoint_every = given.steps, max(1, given.steps // 4)
    return changed(config, change) if change else config


def scored(data: Path, given: argparse.Namespace, seed: int, change: str | None) -> tuple[float, dict[str, float]]:
    """Trains and scores a run: the mean Dice of the validation split, and that of each test picture."""
    kind = "with_" + change.replace("/", "_") if change else "without"
    run = given.workdir / f"{data.resolve().name}_{given.system}_{given.size}_{given.steps}_{seed}_{kind}"
    if train(config_of(data, given, seed, change), run) < given.steps:
        raise KeyboardInterrupt
    val, _ = evaluate_checkpoint(run, "val", output_dir=run / "val")
    evaluate_checkpoint(run, "test", output_dir=run / "test")
    with open(run / "test" / "per_image.csv", encoding="utf-8", newline="") as file:
        of_picture = {line["id"]: float(line["dice"]) for line in csv.DictReader(file)}
    return val["protocols"]["mean"]["per_image"]["dice"]["mean"], of_picture


def paired_interval(differences: np.ndarray, resamples: int = 5000) -> tuple[float, float]:
    """95% percentile bootstrap interval of the mean of [seeds, pictures], both drawn with replacement.

    All seeds of a resample see the same drawn pictures.
    """
    rng, (seeds, pictures) = np.random.default_rng(0), differences.shape
    means = np.empty(resamples)
    for index in range(resamples):
        rows, columns = rng.integers(0, seeds, seeds), rng.integers(0, pictures, pictures)
        means[index] = differences[rows][:, columns].mean()
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def row_of(data: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Trains, scores and times both sides of all seeds; the row of a data set."""
    sides = [[scored(data, given, seed, change) for seed in given.seeds] for change in (None, given.change)]
    names = sorted(sides[0][0][1])
    dice = np.array([[[of_picture[name] for name in names] for _, of_picture in side] for side in sides])
    configs = [resolve_config(config_of(data, given, 0, change)) for change in (None, given.change)]
    (before, small), (after, large) = (training_step(config) for config in configs)
    return {
        "change": given.change,
        "dataset": data.resolve().name,
        "system": given.system,
        "size": given.size,
        "steps": given.steps,
        "seeds": given.seeds,
        "n": len(names),
        "dice": dice.mean(axis=(1, 2)).tolist(),
        "dice_of_seeds": dice.mean(axis=2).tolist(),
        "gain": float((dice[1] - dice[0]).mean()),
        "gain_ci": list(paired_interval(dice[1] - dice[0])),
        "dice_val": [float(np.mean([value for value, _ in side])) for side in sides],
        "parameters": [small, large],
        "train_step_ratio": ratio(after, before, given.repeats),
        "evaluation_ratio": ratio(evaluation(configs[1]), evaluation(configs[0]), given.repeats),
        "device": device_in_words(jax.devices()[0], threads=len(os.sched_getaffinity(0))),
        **provenance(),
    }


def ablations(root: Path) -> str:
    """The table of docs/results/ablations.json."""
    rows = read_rows(root / "docs" / "results" / "ablations.json")
    code = distinct(of_commit(row) for row in rows)
    return table(_COLUMNS, rows) + (f"\nMeasured at {'; '.join(code)}.\n" if code else "")


def _more(row: Row) -> str:
    before, after = row["parameters"]
    return f"{before:,} + {after - before:,}"


_COLUMNS: Columns = {
    "change": "`{change}`",
    "pictures": "{dataset}",
    "network": "`{system}`",
    "side": "{size}",
    "steps": "{steps}",
    "seeds": lambda row: f"{len(row['seeds'])}",
    "n": "{n}",
    "Dice without": lambda row: f"{row['dice'][0]:.3f}",
    "with": lambda row: f"{row['dice'][1]:.3f}",
    "gain": lambda row: "{:+.3f} [{:+.3f}, {:+.3f}]".format(row["gain"], *row["gain_ci"]),
    "parameters": _more,
    "step": "{train_step_ratio:.2f}",
    "picture": "{evaluation_ratio:.2f}",
}


def create_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--change", required=True, metavar="FIELD=VALUE", help="model.overrides.attention=dual")
    parser.add_argument("--data", nargs="+", required=True, type=Path, metavar="FOLDER", help="with splits.csv")
    parser.add_argument("--rotation", type=float, default=20.0, metavar="DEGREES", help="180 where no side is up")
    parser.add_argument("--system", default="trunk_ddim", metavar="NAME", help="the network (%(default)s)")
    parser.add_argument("--steps", type=int, default=2000, metavar="N", help="of each training (%(default)s)")
    parser.add_argument("--size", type=int, default=64, metavar="N", help="side of the pictures (%(default)s)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="default: 0 1 2")
    parser.add_argument("--repeats", type=int, default=15, metavar="N", help="turns of the timing (%(default)s)")
    parser.add_argument("--workdir", type=Path, default=Path("runs/ablations"), metavar="DIR", help="%(default)s")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE", help="docs/results/ablations.json")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    given = create_parser().parse_args(arguments)
    with report_input_errors("stopped"):
        changed(folder_config.get_config(), given.change)
        for data in given.data:
            row: Mapping[str, Any] = row_of(data, given)
            add_row(given.output, RULES, row, IDENTITY)
            print("{dataset}: {change} gains {gain:+.4f} {gain_ci}".format_map(row), flush=True)
    return 0


if __name__ == "__main__":
    run_resumable(main)

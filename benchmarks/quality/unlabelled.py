"""Trains on few labelled images, with unlabelled ones beside them or before them, and on all of them labelled.

python -m benchmarks.quality.unlabelled --data FOLDER [--labels N] [--steps N] [--size N] [--seeds N...]
[--rows ROW...] [--pretrain-steps N]

FOLDER has images, masks and a splits.csv. Of its training split N images keep their masks, drawn by the seed; the
others are `data.unlabelled` of the second row, and what the third is pre-trained on (`ddim-jax pretrain`). All rows:
configs/folder.py turned by any angle, the same steps, the same validation split, which picks the checkpoint; the test
split is scored once for each row, at each image's own size. Writes docs/results/unlabelled.json; `python -m
benchmarks.render` puts the table into the page. A run that is there already is not trained again. The copies of
images below DIR show patients: keep them out of the project.
"""

import argparse
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import ROOT, measured_on
from benchmarks.quality.ablation import gain_of
from benchmarks.quality.rows import scores_of_images, validation_dice
from benchmarks.quality.runs import read_lines, run_resumable
from benchmarks.quality.trainings import folder_config_of, train_to_end, training_parser
from benchmarks.result_file import add_row, read_rows
from benchmarks.tables import Columns, Row, distinct, groups_of, measured_at, table
from ddim_jax.data import load_dataset
from ddim_jax.data.datasets.folder import find_pairs
from ddim_jax.data.seeded import seeded_order
from ddim_jax.data.tables import write_split
from ddim_jax.evaluation import evaluate_checkpoint
from ddim_jax.runtime.errors import InputError, report_input_errors
from ddim_jax.training.pretraining import pretrain

OUTPUT = ROOT / "docs" / "results" / "unlabelled.json"
FEW, MORE, BEFORE, ALL = "few", "few and unlabelled", "pre-trained", "all"
ROWS = (FEW, MORE, BEFORE, ALL)
IDENTITY = ("dataset", "system", "row", "labelled", "size", "steps", "pretrain_steps", "seed")
RULES = {
    "row": f"{FEW}: that many labelled images alone; {MORE}: the rest of the training split without masks beside "
    f"them; {BEFORE}: the few, after pretrain_steps of denoising on the rest; {ALL}: the whole split with masks",
    "dice_mean": "test split, protocol mean, at each image's own size; dice_ci is a 95% bootstrap over the images",
    "gain": f"the mean difference in Dice from the row {FEW} of the same seed, image by image; gain_ci: 95% percentile "
    "bootstrap over the images; null: it is that row, or that one is not there",
    "dice_val": "validation split at the training size, of the checkpoint that it picked",
    "train_cpu_seconds": "processor time of all threads, pre-training included; null: a part was there already",
}


def copied(data: Path, labels: int, seed: int, workdir: Path) -> tuple[Path, Path]:
    """Folders below `workdir` with the pairs of which the training split is cut down, and with the other images."""
    place = workdir / f"{data.resolve().name}_{labels}_{seed}"
    few, others = place / "labelled", place / "unlabelled"
    if (few / "splits.csv").exists():
        return few, others
    splits = {split: load_dataset("folder", split, root=data, read_only=True).ids for split in ("train", "val", "test")}
    splits["rest"] = seeded_order(splits["train"], seed)[labels:]
    splits["train"] = seeded_order(splits["train"], seed)[:labels]
    of_id = {name: split for split, names in splits.items() for name in names}
    for pair in find_pairs(data):
        if of_id.get(pair.id) == "rest":
            targets = ((pair.image, others / (pair.id + pair.image.suffix)),)
        elif pair.id in of_id:
            targets = tuple((file, few / kind / (pair.id + file.suffix)) for kind, file in
                            (("images", pair.image), ("masks", pair.mask)))  # fmt: skip
        else:
            continue
        for source, target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    write_split(few / "splits.csv", {name: split for name, split in of_id.items() if split != "rest"})
    return few, others


def config_of(row: str, given: argparse.Namespace, few: Path, others: Path, seed: int) -> Any:
    """The config of a row."""
    config = folder_config_of(given.data if row == ALL else few, given, seed, rotation=180.0, validations=5)
    if row == MORE:
        config.data.unlabelled = str(others)
    return config


def pretrained(given: argparse.Namespace, few: Path, others: Path, seed: int) -> tuple[Path, bool]:
    """The file of a pre-training on the other images, for as many steps as `given` says, and True where it is new."""
    file = few.parent / f"{given.system}_{BEFORE}_{given.size}_{given.pretrain_steps}.safetensors"
    if file.exists():
        return file, False
    config = config_of(FEW, given, few, others, seed)
    config.data.unlabelled, config.train.steps = str(others), given.pretrain_steps
    pretrain(config, file)
    return file, True


def row_of(row: str, given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Trains and scores one row.

    Raises:
      InputError: there are not more training images than are to keep their masks, or the test images are of groups.
      KeyboardInterrupt: as `benchmarks.quality.trainings.train_to_end`.
    """
    pictures = len(load_dataset("folder", "train", root=given.data, read_only=True))
    if not 1 <= given.labels < pictures:
        raise InputError(f"--labels is {given.labels}; expected 1 to below the {pictures} training images of --data")
    few, others = copied(given.data, given.labels, seed, given.workdir)
    run, of_few = (
        few.parent / f"{given.system}_{name.replace(' ', '_')}_{given.size}_{given.steps}" for name in (row, FEW)
    )
    config, is_new, began = config_of(row, given, few, others, seed), True, time.process_time()
    if row == BEFORE:
        run = run.with_name(f"{run.name}_{given.pretrain_steps}")
        file, is_new = pretrained(given, few, others, seed)
        config.train.init_from = str(file)
    is_new = is_new and not (run / "checkpoints").exists()
    train_to_end(config, run)
    seconds = time.process_time() - began if is_new else None
    metrics, _ = evaluate_checkpoint(run, "test", output_dir=run / "test", resolution="native")
    scores = metrics["protocols"]["mean"]["per_image"]
    dice = scores["dice"]
    is_paired = row != FEW and (of_few / "test").exists()
    gain = gain_of([[scores_of_images(one / "test")] for one in (of_few, run)], of=1) if is_paired else {}
    return {
        "dataset": given.data.resolve().name,
        "system": given.system,
        "row": row,
        "labelled": given.labels,
        "pictures": pictures,
        "size": given.size,
        "steps": given.steps,
        "pretrain_steps": given.pretrain_steps if row == BEFORE else None,
        "seed": seed,
        "step": metrics["step"],
        "dice_val": validation_dice(read_lines(run), metrics["step"]),
        "n": metrics["images"],
        "dice_mean": dice["mean"],
        "dice_ci": [dice["low"], dice["high"]],
        "gain": gain.get("gain"),
        "gain_ci": gain.get("gain_ci"),
        "recall_mean": scores["recall"]["mean"],
        "precision_mean": scores["precision"]["mean"],
        "train_cpu_seconds": seconds,
        **measured_on(),
    }


def gap_closed(few: Sequence[Row], own: Sequence[Row], whole: Sequence[Row]) -> float | None:
    """The share of the gap in mean Dice between few and all labelled images that the rows `own` close.

    None where the three were not measured with the same seeds, or there is no gap.
    """
    if not {row["seed"] for row in few} == {row["seed"] for row in own} == {row["seed"] for row in whole}:
        return None
    low, reached, high = (np.mean([row["dice_mean"] for row in rows]) for rows in (few, own, whole))
    return None if high == low else float((reached - low) / (high - low))


def means(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For each row the mean over its seeds, how many these are, and `gap_closed` where it has unlabelled images.

    A pre-training of another length is another row, beside the same rows of few and all images.
    """
    about = tuple(name for name in IDENTITY if name not in ("row", "seed", "pretrain_steps"))
    found = []
    for same in groups_of(rows, about):
        of_row = {name: [row for row in same if row["row"] == name] for name in ROWS}
        for name, of_name in of_row.items():
            for steps in distinct(row["pretrain_steps"] for row in of_name):
                own = [row for row in of_name if row["pretrain_steps"] == steps]
                gap = gap_closed(of_row[FEW], own, of_row[ALL]) if name in (MORE, BEFORE) else None
                mean = float(np.mean([row["dice_mean"] for row in own]))
                found.append({**own[0], "seeds": len(own), "dice_mean": mean, "gap_closed": gap})
    return found


def unlabelled(root: Path) -> str:
    """The table of docs/results/unlabelled.json."""
    rows = read_rows(root / "docs" / "results" / "unlabelled.json")
    return f"{table(_MEANS, means(rows))}\n{table(_COLUMNS, rows)}{measured_at(rows)}"


def _said(row: Row) -> str:
    rest = row["pictures"] - row["labelled"]
    return {
        FEW: f"{row['labelled']} labelled",
        MORE: f"{row['labelled']} labelled, {rest} unlabelled beside them",
        BEFORE: f"{row['labelled']} labelled, after {row['pretrain_steps']} steps on {rest} unlabelled",
        ALL: f"{row['pictures']} labelled",
    }[row["row"]]


_ABOUT: Columns = {
    "training images": lambda row: f"{row['dataset']}, {_said(row)}",
    "network": "`{system}`",
    "input size": "{size}",
    "steps": "{steps}",
}
_MEANS: Columns = {
    **_ABOUT,
    "seeds": "{seeds}",
    "mean Dice": "{dice_mean:.3f}",
    "share of the gap closed": "{gap_closed:.0%}",
}
_COLUMNS: Columns = {
    **_ABOUT,
    "seed": "{seed}",
    "Dice, test": "{dice_mean:.3f} [{dice_ci[0]:.3f}, {dice_ci[1]:.3f}]",
    "recall": "{recall_mean:.3f}",
    "precision": "{precision_mean:.3f}",
    "Dice, validation": "{dice_val:.3f}",
    "CPU time of the training": "{train_cpu_seconds:.0f} s",
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = training_parser(__doc__, OUTPUT, "runs/unlabelled", seeds=(0,))
    parser.add_argument("--data", required=True, type=Path, metavar="FOLDER", help="with images, masks and splits.csv")
    parser.add_argument("--labels", type=int, default=50, metavar="N", help="images that keep masks (%(default)s)")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=f"{', '.join(ROWS)}")
    parser.add_argument("--pretrain-steps", type=int, metavar="N", help="of denoising (default: as --steps)")
    given = parser.parse_args(arguments)
    given.pretrain_steps = given.pretrain_steps or given.steps
    with report_input_errors():
        for seed in given.seeds:
            for name in given.rows:
                row = row_of(name, given, seed)
                add_row(given.output, RULES, row, IDENTITY)
                print(f"seed {seed}, {name}: Dice {row['dice_mean']:.3f} of {row['n']} images", flush=True)
    return 0


if __name__ == "__main__":
    run_resumable(main)

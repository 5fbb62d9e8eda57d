"""Trains on few labelled pictures, with unlabelled ones beside them or before them, and on all of them labelled.

python -m benchmarks.quality.unlabelled --data FOLDER [--labels N] [--steps N] [--size N] [--seeds N...]
[--rows ROW...] [--pretrain-steps N]

FOLDER has images, masks and a splits.csv. Of its training split N pictures keep their masks, drawn by the seed; the
others are `data.unlabelled` of the second row, and what the third is pre-trained on (`ddim-jax pretrain`). All rows:
configs/folder.py turned by any angle, the same steps, the same validation split, which picks the checkpoint; the test
split is scored once for each row, at each picture's own size. Writes docs/results/unlabelled.json; `python -m
benchmarks.render` puts the table into the page. A run that is there already is not trained again. The copies of
pictures below DIR show patients: keep them out of the project.
"""

import argparse
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.machine import ROOT, device_in_words, provenance
from benchmarks.quality.runs import read_lines, run_resumable
from benchmarks.result_file import add_row, identity, read_rows
from benchmarks.tables import Columns, Row, distinct, of_commit, table
from configs import folder as folder_config
from ddim_jax.data import load_dataset
from ddim_jax.data.datasets.folder import find_pairs
from ddim_jax.data.seeded import seeded_order
from ddim_jax.data.tables import write_split
from ddim_jax.evaluation import evaluate_checkpoint
from ddim_jax.runtime.errors import report_input_errors
from ddim_jax.training import train
from ddim_jax.training.pretraining import pretrain

OUTPUT = ROOT / "docs" / "results" / "unlabelled.json"
FEW, MORE, BEFORE, ALL = "few", "few and unlabelled", "pre-trained", "all"
ROWS = (FEW, MORE, BEFORE, ALL)
IDENTITY = ("dataset", "system", "row", "labelled", "size", "steps", "seed")
RULES = {
    "row": f"{FEW}: that many labelled pictures alone; {MORE}: the rest of the training split without masks beside "
    f"them; {BEFORE}: the few, after pretrain_steps of denoising on the rest; {ALL}: the whole split with masks",
    "dice_mean": "test split, protocol mean, at each picture's own size; dice_ci is a 95% bootstrap over the pictures",
    "dice_val": "validation split at the training size, of the checkpoint that it picked",
    "train_cpu_seconds": "processor time of all threads, pre-training included; null: a part was there already",
}


def copied(data: Path, labels: int, seed: int, workdir: Path) -> tuple[Path, Path]:
    """Folders below `workdir` with the pairs of which the training split is cut down, and with the other pictures."""
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
    config = folder_config.get_config()
    config.model.name, config.seed = given.system, seed
    config.data.root = str(given.data if row == ALL else few)
    config.data.image_size, config.data.rotation_degrees = given.size, 180.0
    if row == MORE:
        config.data.unlabelled = str(others)
    config.train.steps, config.train.checkpoint_every = given.steps, max(1, given.steps // 5)
    return config


def pretrained(given: argparse.Namespace, few: Path, others: Path, seed: int) -> tuple[Path, bool]:
    """The file of a pre-training on the other pictures, for as many steps as `given` says, and True where it is new."""
    file = few.parent / f"{given.system}_{BEFORE}_{given.size}_{given.pretrain_steps}.safetensors"
    if file.exists():
        return file, False
    config = config_of(FEW, given, few, others, seed)
    config.data.unlabelled, config.train.steps = str(others), given.pretrain_steps
    pretrain(config, file)
    return file, True


def row_of(row: str, given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Trains and scores one row."""
    few, others = copied(given.data, given.labels, seed, given.workdir)
    run = few.parent / f"{given.system}_{row.replace(' ', '_')}_{given.size}_{given.steps}"
    config, is_new, began = config_of(row, given, few, others, seed), True, time.process_time()
    if row == BEFORE:
        run = run.with_name(f"{run.name}_{given.pretrain_steps}")
        file, is_new = pretrained(given, few, others, seed)
        config.train.init_from = str(file)
    is_new = is_new and not (run / "checkpoints").exists()
    if train(config, run) < given.steps:
        raise KeyboardInterrupt
    seconds = time.process_time() - began if is_new else None
    metrics, _ = evaluate_checkpoint(run, "test", output_dir=run / "test", resolution="native")
    dice = metrics["protocols"]["mean"]["per_image"]["dice"]
    return {
        "dataset": given.data.resolve().name,
        "system": given.system,
        "row": row,
        "labelled": given.labels,
        "pictures": len(load_dataset("folder", "train", root=given.data, read_only=True)),
        "size": given.size,
        "steps": given.steps,
        "pretrain_steps": given.pretrain_steps if row == BEFORE else None,
        "seed": seed,
        "step": metrics["step"],
        "dice_val": validation_dice(run, metrics["step"]),
        "n": metrics["images"],
        "dice_mean": dice["mean"],
        "dice_ci": [dice["low"], dice["high"]],
        "train_cpu_seconds": seconds,
        "device": device_in_words(jax.devices()[0], threads=len(os.sched_getaffinity(0))),
        **provenance(),
    }


def validation_dice(run: Path, step: int) -> float:
    """The validation Dice of a step, from the metrics.jsonl of a run."""
    return next(
        line["validation_dice"] for line in read_lines(run) if line["step"] == step and "validation_dice" in line
    )


def gap_closed(rows: Sequence[Row], name: str) -> float | None:
    """The share of the mean gap in Dice between few and all labelled pictures that the row `name` closes.

    None where these three were not measured with the same seeds.
    """
    dice = {one: {row["seed"]: row["dice_mean"] for row in rows if row["row"] == one} for one in (FEW, name, ALL)}
    if not dice[FEW].keys() == dice[name].keys() == dice[ALL].keys():
        return None
    few, own, whole = (np.mean(list(dice[one].values())) for one in (FEW, name, ALL))
    return float((own - few) / (whole - few))


def means(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For each row the mean over its seeds, how many these are, and `gap_closed` where it has unlabelled pictures."""
    about = tuple(name for name in IDENTITY if name not in ("row", "seed"))
    found = []
    for one in distinct(identity(row, about) for row in rows):
        own = [row for row in rows if identity(row, about) == one]
        for name in ROWS:
            if of_name := [row for row in own if row["row"] == name]:
                gap = gap_closed(own, name) if name in (MORE, BEFORE) else None
                mean = float(np.mean([row["dice_mean"] for row in of_name]))
                found.append({**of_name[0], "seeds": len(of_name), "dice_mean": mean, "gap_closed": gap})
    return found


def unlabelled(root: Path) -> str:
    """The table of docs/results/unlabelled.json."""
    rows = read_rows(root / "docs" / "results" / "unlabelled.json")
    if not rows:
        return "Not yet measured.\n"
    code = distinct(of_commit(row) for row in rows)
    return f"{table(_MEANS, means(rows))}\n{table(_COLUMNS, rows)}\nMeasured at {'; '.join(code)}.\n"


def _said(row: Row) -> str:
    rest = row["pictures"] - row["labelled"]
    return {
        FEW: f"{row['labelled']} labelled",
        MORE: f"{row['labelled']} labelled, {rest} unlabelled beside them",
        BEFORE: f"{row['labelled']} labelled, after {row.get('pretrain_steps')} steps on {rest} unlabelled",
        ALL: f"{row['pictures']} labelled",
    }[row["row"]]


_ABOUT: Columns = {
    "training pictures": lambda row: f"{row['dataset']}, {_said(row)}",
    "network": "`{system}`",
    "side": "{size}",
    "steps": "{steps}",
}
_MEANS: Columns = {
    **_ABOUT,
    "seeds": "{seeds}",
    "mean Dice": "{dice_mean:.3f}",
    "of the gap closed": "{gap_closed:.0%}",
}
_COLUMNS: Columns = {
    **_ABOUT,
    "seed": "{seed}",
    "Dice": lambda row: "{:.3f} [{:.3f}, {:.3f}]".format(row["dice_mean"], *row["dice_ci"]),
    "validation": "{dice_val:.3f}",
    "training, CPU s": "{train_cpu_seconds:.0f}",
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, metavar="FOLDER", help="with images, masks and splits.csv")
    parser.add_argument("--labels", type=int, default=50, metavar="N", help="pictures that keep masks (%(default)s)")
    parser.add_argument("--system", default="trunk_ddim", metavar="NAME", help="the network (%(default)s)")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=f"{', '.join(ROWS)}")
    parser.add_argument("--steps", type=int, default=2000, metavar="N", help="of each training (%(default)s)")
    parser.add_argument("--pretrain-steps", type=int, metavar="N", help="of denoising (default: as --steps)")
    parser.add_argument("--size", type=int, default=64, metavar="N", help="side of the pictures (%(default)s)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N", help="of picture choice and training")
    parser.add_argument("--workdir", type=Path, default=Path("runs/unlabelled"), metavar="DIR", help="%(default)s")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE", help="docs/results/unlabelled.json")
    given = parser.parse_args(arguments)
    given.pretrain_steps = given.pretrain_steps or given.steps
    with report_input_errors("stopped"):
        for seed in given.seeds:
            for name in given.rows:
                row = row_of(name, given, seed)
                add_row(given.output, RULES, row, IDENTITY)
                print(f"seed {seed}, {name}: Dice {row['dice_mean']:.3f} of {row['n']} pictures", flush=True)
    return 0


if __name__ == "__main__":
    run_resumable(main)

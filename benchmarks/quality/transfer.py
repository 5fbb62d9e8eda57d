"""Scores runs on the test pictures of their own source, and on whole folders of pictures from elsewhere.

python -m benchmarks.quality.transfer --runs RUN... --elsewhere FOLDER [--data FOLDER] [--workdir DIR]

All at the picture's own size, the test split once for each row. RUN is trained on a folder with images and masks, whose
name is the data set's; all runs of a call are of one data set. Writes a row for each run and source into
docs/results/transfer.json; `python -m benchmarks.render` puts the table into the pages. What the evaluations write
stays in DIR, pictures of the worst and the median masks among it: they show patients, keep them out of the project.
"""

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, provenance
from benchmarks.quality.runs import augmentation_of, read_config
from benchmarks.result_file import add_row, read_result
from benchmarks.tables import Columns, Row, measured_at, table
from ddim_jax.evaluation import evaluate_checkpoint
from ddim_jax.runtime.errors import report_input_errors

OUTPUT = ROOT / "docs" / "results" / "transfer.json"
IDENTITY = ("dataset", "source", "system", "augmentation", "size", "train_steps", "seed")
RULES = {
    "source": "test: the test split of the folder that was trained on; elsewhere: all pictures of another folder",
    "dice_mean": "protocol mean, at each picture's own size; dice_ci is a 95% percentile bootstrap over the pictures",
    "dice_of_structures": "over the pictures whose truth is not empty",
    "kept_dice": "when the most doubtful fifth of the pictures is set aside",
    "false_alarms": "pictures whose truth is empty and whose mask is not, of empty_truths",
    "doubt_correlation": "rank correlation of the doubt with Dice",
    "area_coverage": "share of the pictures whose true area is in the calibrated interval; null: the run has none",
}


def row_of(metrics: Mapping[str, Any], per_image: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """The figures of a row, from the `metrics.json` and `per_image.csv` of an evaluation of one class."""
    scores = metrics["protocols"]["mean"]["per_image"]
    empty = [row for row in per_image if int(row["true_area"]) == 0]
    structures = [float(row["dice"]) for row in per_image if int(row["true_area"]) > 0]
    bounds = next(iter(metrics["bounds"]["classes"].values()))
    return {
        "n": metrics["images"],
        "step": metrics["step"],
        "evaluations": metrics["network_evaluations_per_image"],
        "dice_mean": scores["dice"]["mean"],
        "dice_ci": [scores["dice"]["low"], scores["dice"]["high"]],
        "recall_mean": scores["recall"]["mean"],
        "precision_mean": scores["precision"]["mean"],
        "dice_of_structures": sum(structures) / len(structures) if structures else None,
        "kept_dice": metrics["risk_coverage"]["kept_dice"],
        "doubt_correlation": metrics["doubt"]["rank_correlation_with_dice"],
        "ece": metrics["calibration"]["ece"],
        "empty_truths": len(empty),
        "false_alarms": sum(int(row["area"]) > 0 for row in empty),
        "area_coverage": bounds["area"]["coverage"] if "area" in bounds else None,
    }


def score(run: Path, data: Path | None, elsewhere: Path, workdir: Path) -> list[dict[str, Any]]:
    """Evaluates one run on both sources; the rows.

    Args:
      run: a run of train.py.
      data: where the pictures of the training lie; None for where they lay then.
      elsewhere: a folder with images and masks, all of which are scored.
      workdir: a folder for what the evaluations write.

    Raises:
      InputError: as `ddim_jax.evaluation.evaluate_checkpoint`.
    """
    config = read_config(run)
    about = {
        "dataset": Path(config["data"]["root"]).name,
        "system": config["model"]["name"],
        "augmentation": augmentation_of(config),
        "size": config["data"]["image_size"],
        "train_steps": config["train"]["steps"],
        "seed": config["seed"],
    }
    rows = []
    for source, split, root in (("test", "test", data), ("elsewhere", "all", elsewhere)):
        output = workdir / f"{run.resolve().name}_{source}"
        metrics, _ = evaluate_checkpoint(run, split, output_dir=output, data_root=root, resolution="native")
        with open(output / "per_image.csv", newline="", encoding="utf-8") as file:
            figures = row_of(metrics, list(csv.DictReader(file)))
        rows.append(about | {"source": source} | figures | provenance())
    return rows


def transfer(root: Path) -> str:
    """The table of docs/results/transfer.json."""
    rows = read_result(root / "docs" / "results" / "transfer.json").get("rows", [])
    return table(_COLUMNS, rows) + measured_at(rows, "Evaluated")


def _alarms(row: Row) -> str:
    return f"{row['false_alarms']} of {row['empty_truths']}" if row["empty_truths"] else "no empty picture"


_COLUMNS: Columns = {
    "pictures": "{dataset}, {source}",
    "n": "{n}",
    "system": "`{system}`",
    "augmentation": "{augmentation}",
    "side": "{size}",
    "seed": "{seed}",
    "Dice": lambda row: "{:.3f} [{:.3f}, {:.3f}]".format(row["dice_mean"], *row["dice_ci"]),
    "recall": "{recall_mean:.3f}",
    "precision": "{precision_mean:.3f}",
    "80% kept": "{kept_dice:.3f}",
    "doubt with Dice": "{doubt_correlation:.2f}",
    "false alarms": _alarms,
    "area interval holds": "{area_coverage:.2f}",
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", required=True, type=Path, metavar="RUN", help="runs of train.py")
    parser.add_argument("--elsewhere", required=True, type=Path, metavar="FOLDER", help="images and masks to score")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="of the training, where it lies elsewhere now")
    parser.add_argument(
        "--workdir", type=Path, default=Path("runs/transfer"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, metavar="FILE", help="default: docs/results/transfer.json"
    )
    given = parser.parse_args(arguments)
    with report_input_errors("stopped"):
        for run in given.runs:
            for row in score(run, given.data, given.elsewhere, given.workdir):
                add_row(given.output, RULES, row, IDENTITY)
                print(f"{run}, {row['source']}: Dice {row['dice_mean']:.3f} of {row['n']} pictures", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

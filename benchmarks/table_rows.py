"""The arithmetic of Table 1: what a budget buys, what a run took, and its rows."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

IDENTITY = ("system", "dataset", "networks", "size", "device", "budget_s", "seed", "protocol")
"""What tells one row from another. A new row takes the place of one that differs in nothing of this."""


def run_folder(workdir: Path, about: Mapping[str, Any]) -> Path:
    """Where the run is trained that a row, or the fields known beforehand of one, is about."""
    name = "{system}-{size}-{budget_s:g}s-seed{seed}-{settings}".format(**about)
    return workdir / about["dataset"] / name


def steps_for(budget_s: float, step_s: float) -> int:
    """The training steps that fit into `budget_s` seconds, at least 1."""
    return max(1, int(budget_s / step_s))


def step_seconds(
    lines: Iterable[Mapping[str, Any]],
    batch_size: int,
    average: Callable[[Iterable[float]], float] = statistics.median,
) -> float:
    """Seconds of a training step, averaged over the lines of a `metrics.jsonl` that have a speed.

    Raises:
      ValueError: none has.
    """
    return average(batch_size / line["images_per_second"] for line in lines if "images_per_second" in line)


def training_seconds(lines: Sequence[Mapping[str, Any]], batch_size: int) -> float:
    """Seconds that all steps of a run took, without compilation, validation and checkpoints.

    A speed in `metrics.jsonl` is that of the steps since the line before, the first step after a start aside, which
    compiles; that one, and a line without a speed, are counted at the speed of their neighbours.
    """
    total, last, usual = 0.0, 0, step_seconds(lines, batch_size)
    for line in lines:
        if "loss" in line:
            speed = line.get("images_per_second")
            total += (line["step"] - last) * (batch_size / speed if speed else usual)
            last = line["step"]
    return total


def rows_of(
    about: Mapping[str, Any],
    config: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    train_examples: int,
    metrics: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """The rows of one run, one for each protocol.

    Args:
      about: fields of the rows known beforehand; those of `IDENTITY`, but for the protocol, are among them.
      config: the run's config.json.
      lines: its metrics.jsonl.
      train_examples: pictures of the training split.
      metrics: the metrics.json of its evaluation.
    """
    train = config["train"]
    validation = {line["step"]: line["validation_dice"] for line in lines if "validation_dice" in line}
    shared = {
        **about,
        "prediction": config["diffusion"]["prediction"],
        "dtype": config["model"]["overrides"]["dtype"] or "float32",
        "learning_rate": train["learning_rate"],
        "batch_size": train["batch_size"],
        "train_s": round(training_seconds(lines, train["batch_size"]), 1),
        "steps": train["steps"],
        "epochs": round(train["steps"] * train["batch_size"] / train_examples, 2),
        "picked_step": metrics["step"],
        "validation_dice": validation[metrics["step"]],
        "sampler": metrics["sampler"],
        "sampling_steps": metrics["steps"],
        "samples": metrics["samples"],
        "flips": metrics["flips"],
        "clip_x0": metrics["clip_x0"],
        "seconds_per_image": metrics["seconds_per_image"]["median_of_the_rest"],
        "n": metrics["images"],
        "n_in_split": metrics["images_in_split"],
        "ece": metrics["calibration"]["ece"],
        "kept_dice": metrics["risk_coverage"]["kept_dice"],
    }
    return [
        {
            **shared,
            "protocol": name,
            "recall_mean": found["per_image"]["recall"]["mean"],
            "dice_mean": found["per_image"]["dice"]["mean"],
            "dice_ci": [found["per_image"]["dice"]["low"], found["per_image"]["dice"]["high"]],
            "dice_single": found["per_image"]["dice_single"]["mean"],
            "dice_pooled": found["pooled"]["dice"],
        }
        for name, found in metrics["protocols"].items()
    ]

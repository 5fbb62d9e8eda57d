"""The rows of Table 1, from the files that its runs leave: what they took, and the scores of single images."""

import csv
import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.result_file import identity
from benchmarks.tables import Row
from ddim_jax.metrics import bootstrap_interval
from ddim_jax.models import create_model
from ddim_jax.runtime.errors import InputError

IDENTITY = ("system", "dataset", "networks", "size", "device", "budget_s", "seed", "protocol")
"""Fields that tell one row from another. A new row takes the place of one that has the same values of them."""
_WITHOUT_STRUCTURE = ("empty_windows", "empty windows"), ("erased", "erased")


def augmentation_of(config: Mapping[str, Any]) -> str:
    """The augmentation of a saved config in words, empty windows and erased structures with it."""
    shares = ((config["data"].get(name, 0.0), told) for name, told in _WITHOUT_STRUCTURE)
    return ", ".join([config["data"]["augmentation"], *(f"{share:g} {told}" for share, told in shares if share)])


def stem_of(config: Mapping[str, Any]) -> int:
    """The side of the patches that the network of a saved config folds into channels."""
    about = config["model"]
    return create_model(about["name"], preset=about.get("preset"), **about.get("overrides", {})).stem_stride


def about_training(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row that say of a saved config what was trained, on images of what size, how long."""
    return {
        "system": config["model"]["name"],
        "augmentation": augmentation_of(config),
        "size": config["data"]["image_size"],
        "stem": stem_of(config),
        "train_steps": config["train"]["steps"],
        "seed": config["seed"],
    }


def run_folder(workdir: Path, about: Mapping[str, Any]) -> Path:
    """The folder of the run that a row, or the fields known beforehand of one, is about."""
    name = "{system}-{size}-{budget_s:g}s-seed{seed}-{settings}".format(**about)
    return workdir / about["dataset"] / name


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


def validation_dice(lines: Iterable[Mapping[str, Any]], step: int) -> float:
    """The validation Dice of a step, the last where a run came there again, from the lines of its `metrics.jsonl`."""
    return {line["step"]: line["validation_dice"] for line in lines if "validation_dice" in line}[step]


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
      train_examples: images of the training split.
      metrics: the metrics.json of its evaluation.
    """
    train = config["train"]
    shared = {
        **about,
        "prediction": config["diffusion"]["prediction"],
        "dtype": config["model"]["overrides"].get("dtype") or "float32",
        "learning_rate": train["learning_rate"],
        "batch_size": train["batch_size"],
        "train_s": round(training_seconds(lines, train["batch_size"]), 1),
        "steps": train["steps"],
        "epochs": round(train["steps"] * train["batch_size"] / train_examples, 2),
        "picked_step": metrics["step"],
        "validation_dice": validation_dice(lines, metrics["step"]),
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


def read_per_image(evaluation: Path) -> list[dict[str, str]]:
    """The lines of the per_image.csv of an evaluation's folder."""
    with open(evaluation / "per_image.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_groups(images: int, groups: int, place: Any) -> None:
    """Refuses images that are not drawn one by one, of which the intervals of differences here would be too narrow.

    Raises:
      InputError: there are fewer groups than images.
    """
    if groups < images:
        raise InputError(
            f"{place}: {images} images of {groups} groups (patients, folders, volumes); expected one image of each "
            "group, since the intervals of this comparison draw single images"
        )


def area_interval(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row about the calibrated interval of the area of the one class of a `metrics.json`.

    Returns:
      Its coverage, the 95% binomial interval of that, and its mean width as a share of the pixels; None each without a
      calibration.
    """
    area = next(iter(metrics["bounds"]["classes"].values())).get("area")
    return {
        "area_coverage": area and area["coverage"],
        "area_coverage_ci": area and [area["low"], area["high"]],
        "area_width_share": area and area["mean_width_share"],
    }


def scores_of_images(evaluation: Path, column: str = "dice") -> dict[str, float]:
    """A column of the per_image.csv of an evaluation's folder, by the image's id.

    Raises:
      InputError: the images are of fewer groups.
    """
    metrics = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))
    check_groups(metrics["images"], metrics.get("groups", metrics["images"]), evaluation)  # earlier files lack it
    return {line["id"]: float(line[column]) for line in read_per_image(evaluation)}


REFERENCE = "lightweight_ddim"
"""The system whose lead over each of the others is taken image by image."""
_SAME_RUN = (*IDENTITY, "settings")


def picture_scores(row: Row, workdir: Path) -> dict[str, float] | None:
    """The Dice of every image that a row is the mean of, by the image's id.

    None where `workdir` does not hold them: no such run, or an evaluation that gives another mean (of other images,
    or of other settings).

    Raises:
      InputError: as `scores_of_images`.
    """
    evaluation = run_folder(workdir, row) / "evaluation" / "test"
    if not (evaluation / "per_image.csv").exists():
        return None
    scores = scores_of_images(evaluation, "dice" if row["protocol"] == "mean" else f"{row['protocol']}_dice")
    same = len(scores) == row["n"] and math.isclose(statistics.fmean(scores.values()), row["dice_mean"], abs_tol=1e-9)
    return scores if same else None


def on_the_same_pictures(rows: Sequence[Row], workdir: Path, earlier: Iterable[Row] = ()) -> list[dict[str, Any]]:
    """For every part of a split that a row is limited to, the scores of the rows it is compared with on that part.

    Args:
      rows: of Table 1.
      workdir: of their runs.
      earlier: what this gave before; it stands where the scores of single images are no longer in `workdir`, as long
        as the run is the same.

    Returns:
      Entries with the fields that tell a row from another (`IDENTITY`), its settings, `n`, and `dice_mean` and
      `dice_ci` over the n images; the row that is limited to them has one itself. A system that was not scored on all
      of them has none.
    """
    known = {(identity(entry, _SAME_RUN), entry["n"]): dict(entry) for entry in earlier}
    found = {}
    for part in (row for row in rows if row["n"] < row["n_in_split"]):
        chosen = picture_scores(part, workdir)
        for row in _compared(rows, part):
            key, scores = (identity(row, _SAME_RUN), part["n"]), picture_scores(row, workdir)
            if chosen is None or scores is None:
                found |= {key: known[key]} if key in known else {}
            elif chosen.keys() <= scores.keys():
                values = [scores[name] for name in chosen]
                dice = {"dice_mean": statistics.fmean(values), "dice_ci": list(bootstrap_interval(values))}
                found[key] = {**{name: row[name] for name in _SAME_RUN}, "n": part["n"], **dice}
    return list(found.values())


def leads(rows: Sequence[Row], workdir: Path, earlier: Iterable[Row] = ()) -> list[dict[str, Any]]:
    """By how much `REFERENCE` is ahead of each other system on the images that both were scored on (protocol mean).

    The difference of two Dice of one image varies far less than either, since hard images are hard for both.

    Args:
      rows, workdir, earlier: as for `on_the_same_pictures`.

    Returns:
      Entries with the fields that tell the other system's row (`IDENTITY`), its settings and the reference's, `n`, and
      `lead`, the mean of the differences, with `lead_ci`, their 95% bootstrap interval.
    """
    known = {(identity(entry, _SAME_RUN), entry["reference_settings"]): dict(entry) for entry in earlier}
    found = []
    for own in (row for row in rows if (row["system"], row["protocol"]) == (REFERENCE, "mean")):
        for row in (other for other in _compared(rows, own) if other is not own):
            key = identity(row, _SAME_RUN), own["settings"]
            scores, others = picture_scores(own, workdir), picture_scores(row, workdir)
            if scores is None or others is None:
                found += [known[key]] if key in known else []
                continue
            differences = [scores[name] - others[name] for name in sorted(scores.keys() & others.keys())]
            if differences:
                about = {name: row[name] for name in _SAME_RUN} | {"reference_settings": own["settings"]}
                lead = {"lead": statistics.fmean(differences), "lead_ci": list(bootstrap_interval(differences))}
                found.append(about | {"n": len(differences)} | lead)
    return found


def _compared(rows: Sequence[Row], with_row: Row) -> list[Row]:
    """The rows that differ from one in nothing but the system, itself included."""
    fields = tuple(name for name in IDENTITY if name != "system")
    return [row for row in rows if identity(row, fields) == identity(with_row, fields)]

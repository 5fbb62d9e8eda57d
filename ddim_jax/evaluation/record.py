"""The content of `metrics.json`."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import jax
import numpy as np

import ddim_jax
from ddim_jax.evaluation.calibrating import Judgement
from ddim_jax.evaluation.intervals import summarise_bounds, summarise_unlikeness
from ddim_jax.evaluation.plan import EvaluationPlan
from ddim_jax.evaluation.reading import Pictures
from ddim_jax.evaluation.scoring import ImageResult
from ddim_jax.evaluation.summary import rules, summarise
from ddim_jax.inference import Segmenter
from ddim_jax.sampling_options import SamplingOptions


def metrics_of(
    work: EvaluationPlan,
    pictures: Pictures,
    results: Sequence[ImageResult],
    seconds: Sequence[Sequence[float]],
    judgement: Judgement,
) -> dict[str, Any]:
    """The content of `metrics.json`.

    Args:
      work: the plan.
      pictures: the images that were read.
      results: their numbers.
      seconds: that sampling took, by checkpoint and image.
      judgement: the calibration, if there is one.
    """
    labels = work.first.labels
    return {
        "dataset": work.source.name,
        "place": getattr(work.source, "place", None),
        "split": work.evaluation.split,
        "scored": _scored(work),
        "note": work.subset.note,
        "images": len(work.subset),
        "groups": len(set(work.groups)),
        "images_in_split": len(work.source),
        "trained_on": None if pictures.trained_on is None else len(pictures.trained_on),
        **_about(work),
        "working_size": pictures.working_size,
        **summarise(results, work.options.ensemble, labels),
        "bounds": summarise_bounds(results, judgement.calibration, judgement.why_not_calibrated, work.subset, labels),
        "unlikeness": summarise_unlikeness(results, judgement.reference, judgement.why_not_judged),
        "seconds_per_image": _times(seconds, work.together),
        "rules": rules(work.options.ensemble),
    }


def replaced_in_words(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """The settings of an evaluation that differ from those of the one that replaces it; "" for none.

    Args:
      before, now: what their `metrics.json` hold; None where there is no earlier one.
    """
    before = before or {}
    names = ("checkpoint", "dataset", "split", "images", "resolution", *(one.name for one in fields(SamplingOptions)))
    differ = [f"{name} {before[name]}" for name in names if name in before and before[name] != now.get(name)]
    if not differ and "place" in before and before["place"] != now.get("place"):
        differ = [f"another folder called {before['dataset']}"]
    return ", ".join(differ)


def _scored(work: EvaluationPlan) -> str:
    """The images that are scored, in words; their folder by its name, which says less than a path."""
    name, count = work.source.name, len(work.source)
    division = getattr(work.source, "division", None)
    if work.evaluation.split == "all":
        text = f"all images of {name}, {count}"
    elif work.of_folds:
        text = f"the {work.evaluation.split} part of {name} in each of {_folds(work.members)} folds, {count} images"
    elif division is not None:
        text = (
            f"the {work.evaluation.split} part of {name}, {count} of its {len(division.split)} images, {division.rule}"
        )
    else:
        text = f"the {work.evaluation.split} part of {name}, {count} images"
    return text if len(work.subset) == count else f"{text}; of these {len(work.subset)}, spread evenly"


def _whole(members: Sequence[Segmenter]) -> int:
    """The folds that the cross-validation has, of which these checkpoints may be some."""
    return members[0].config["data"].get("folds") or len(members)


def _folds(members: Sequence[Segmenter]) -> str:
    whole = _whole(members)
    return f"{len(members)} of {whole}" if len(members) < whole else f"{whole}"


def _about(work: EvaluationPlan) -> dict[str, Any]:
    """The part of `metrics.json` about the checkpoint, or those of the folds, and how it was sampled."""
    # RUN/checkpoints/STEP or the file of packed weights, wherever it lies
    members, segmenter = work.members, work.first
    paths = [Path(path) for member in members for path in member.checkpoints]
    places = ("/".join(place.parts[-1 if place.suffix else -3 :]) for place in paths)
    return {
        "checkpoint": (", " if len(members) > 1 else " + ").join(places),
        "checkpoints": len(segmenter.checkpoints),
        "folds": len(members) if len(members) > 1 else 0,
        "of_folds": _whole(members) if len(members) > 1 else 0,
        "step": segmenter.step if len(members) == 1 else [member.step for member in members],
        **{name: value for name, value in work.options.as_dict().items() if name != "threshold"},
        "batch_size": work.evaluation.batch_size,
        "network_evaluations_per_image": segmenter.evaluations(work.options),
        "image_size": segmenter.image_size,
        "resolution": work.evaluation.resolution,
        "package": "ddim_jax",
        "package_version": ddim_jax.__version__,
        "classes": list(segmenter.labels.class_names),
    }


def _times(seconds: Sequence[Sequence[float]], together: int) -> dict[str, Any]:
    """The part of `metrics.json` about the seconds of each image, by checkpoint; its first batch holds compilation."""
    first, rest = ([one for took in seconds for one in took[part]] for part in (np.s_[:together], np.s_[together:]))
    return {
        "device": jax.devices()[0].device_kind,
        "first_with_compilation": sum(first),
        "mean_of_the_rest": statistics.fmean(rest) if rest else None,
        "median_of_the_rest": statistics.median(rest) if rest else None,
    }

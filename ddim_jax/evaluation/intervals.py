"""The calibration of a data set's images, and how many of them their bounds hold for."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging
from scipy import stats

from ddim_jax.data import Source, ids_digest
from ddim_jax.evaluation.scoring import ImageResult, Score, groups_of_results
from ddim_jax.inference.calibration import Calibrated
from ddim_jax.inference.unlikeness import WITHIN, Reference, is_unlike
from ddim_jax.labels import Labels
from ddim_jax.metrics import (
    Bounds,
    Quantiles,
    Statement,
    area_score,
    bootstrap_interval,
    calibrated_bounds,
    calibration_at,
    conformal_quantile,
    dice_score,
    expected_calibration_error,
    fit_doubt,
    fit_temperature,
)
from ddim_jax.metrics.temperature import TEMPERATURES

COVERAGE = 0.9


def calibrate(
    results: Sequence[ImageResult], source: Source, split: str, coverage: float, labels: Labels
) -> Calibrated:
    """Finds the calibration of the protocol 'mean' on images that were not trained on.

    Args:
      results: their scores.
      source: where they are from.
      split: the name of the split.
      coverage: the share of images that each bound is made for.
      labels: the classes.

    Raises:
      ValueError: there are too few.
    """
    quantiles, groups = [], groups_of_results(results)
    for number in range(labels.count):
        pairs = [(result.statements[number], _score(result, number)) for result in results]
        quantiles.append(
            Quantiles(
                area=conformal_quantile(
                    [area_score(said, true_area(score)) for said, score in pairs], coverage, groups
                ),
                dice=conformal_quantile([dice_score(said, score.dice) for said, score in pairs], coverage, groups),
            )
        )
    about = {"dataset": source.name, "split": split, "images": len(results), "ids_sha256": ids_digest(source)}
    about["pixels_sha256"] = _pixels_digest(results)
    if len(set(groups)) < len(groups):
        about["groups"] = len(set(groups))
    doubt = fit_doubt(
        [[said.doubt for said in result.statements] for result in results],
        [result.drawn for result in results],
        [[1 - _score(result, number).dice for number in range(labels.count)] for result in results],
    )
    temperature, (low, high) = fit_temperature(_logits(results)), TEMPERATURES
    if not low * 1.001 < temperature < high / 1.001:
        logging.warning(
            "the temperature of %s %s is %.4g, an end of the range that is searched (%g to %g): these images do not "
            "determine it; calibrate on more, or leave it unused. Bounds and doubt do without it",
            source.name,
            split,
            temperature,
            low,
            high,
        )
    return Calibrated(coverage, tuple(quantiles), temperature, about, doubt)


def summarise_bounds(
    results: Sequence[ImageResult], calibration: Calibrated | None, why_not: str, source: Source, labels: Labels
) -> dict[str, Any]:
    """The part of `metrics.json` about bounds; `why_not` says in words why there is no calibration.

    Returns:
      {"nominal", "calibration", "same_pictures", "ece_at_temperature", "classes"}: "calibration" None or its facts with
      its temperature; the expected calibration error of the probability that is scaled by it; for each class by its
      name "area_uncalibrated" and, of a calibration, "area" and "dice_low", each as {"held", "images", "coverage",
      "low", "high"} with a 95% interval, and "mean_width" (pixels), "mean_width_share" (of the pixels) or "mean".
    """
    found: dict[str, Any] = {
        "nominal": COVERAGE if calibration is None else calibration.coverage,
        "calibration": None,
        "why_not_calibrated": why_not or None,
        "classes": {name: _of_class(results, number, calibration) for number, name in enumerate(labels.class_names)},
    }
    if calibration is not None:
        found["calibration"] = dict(calibration.about) | {
            "temperature": calibration.temperature,
            "doubt": calibration.doubt.as_record(labels),
        }
        found["same_pictures"] = _are_of(calibration, results, source)
        scaled = calibration_at(_logits(results), calibration.temperature)
        found["ece_at_temperature"] = expected_calibration_error(scaled)
    return found


def summarise_unlikeness(results: Sequence[ImageResult], reference: Reference | None, why_not: str) -> dict[str, Any]:
    """The part of `metrics.json` about images unlike those of the calibration.

    Returns:
      {"within", "why_not_judged"}, the share of images like the calibration's that is within the limit; and where
      they were judged {"flagged", "images", "share", "low", "high", "median"}: how many are flagged, their share with
      its 95% interval, and the median unlikeness.
    """
    found: dict[str, Any] = {"within": WITHIN, "why_not_judged": why_not or None}
    if reference is not None:
        values = [reference.unlikeness(result.descriptor) for result in results]
        held = _held([is_unlike(value) for value in values], groups_of_results(results))
        found |= {"flagged": held.pop("held"), "share": held.pop("coverage"), **held}
        found["median"] = float(np.median(values))
    return found


def bounds_of(result: ImageResult, calibration: Calibrated) -> list[Bounds]:
    """The bounds of each class of one image."""
    return [calibrated_bounds(*pair) for pair in zip(result.statements, calibration.quantiles, strict=True)]


def true_area(score: Score) -> int:
    """The pixels of the truth."""
    return score.counts.true_positive + score.counts.false_negative


def _of_class(results: Sequence[ImageResult], number: int, calibration: Calibrated | None) -> dict[str, Any]:
    said = [result.statements[number] for result in results]
    scores, groups = [_score(result, number) for result in results], groups_of_results(results)
    found = {"area_uncalibrated": _areas(said, [(one.inner, one.outer) for one in said], scores, groups)}
    if calibration is None:
        return found
    bounds = [bounds_of(result, calibration)[number] for result in results]
    lowest = [one.dice_low for one in bounds]
    found["area"] = _areas(said, [(one.area_low, one.area_high) for one in bounds], scores, groups)
    found["dice_low"] = _held([low <= score.dice + 1e-9 for low, score in zip(lowest, scores, strict=True)], groups)
    found["dice_low"]["mean"] = float(np.mean(lowest))
    return found


def _areas(
    said: Sequence[Statement],
    intervals: Sequence[tuple[float, float]],
    scores: Sequence[Score],
    groups: Sequence[str],
) -> dict[str, Any]:
    # Solved for the truth and back, a bound that the truth lies on may miss it by rounding.
    held = [low - 1e-6 <= true_area(score) <= high + 1e-6 for (low, high), score in zip(intervals, scores, strict=True)]
    widths = np.array([high - low for low, high in intervals])
    shares = widths / [max(one.pixels, 1) for one in said]
    return _held(held, groups) | {"mean_width": float(widths.mean()), "mean_width_share": float(shares.mean())}


def _interval(held: Sequence[bool], groups: Sequence[str]) -> tuple[float, float]:
    """The 95% interval of the share of images that hold, of groups no narrower than of as many images by themselves.

    A bootstrap over groups has no width where all have the same share, and next to none where nearly all hold. So it is
    joined with the interval of Clopper and Pearson for as many trials as there are groups, of which the share of the
    images holds: a number that need not be whole, in the form with the beta distribution. Counting images there as soon
    as a group is divided would make the interval far narrower by one more image that does not hold.
    """
    count = len(set(groups))
    successes = count * sum(held) / len(held)
    low = stats.beta.ppf(0.025, successes, count - successes + 1) if successes > 0 else 0.0
    high = stats.beta.ppf(0.975, successes + 1, count - successes) if successes < count else 1.0
    if count < len(held):
        bootstrap = bootstrap_interval(np.asarray(held, float), groups)
        low, high = min(low, bootstrap[0]), max(high, bootstrap[1])
    return low, high


def _held(held: Sequence[bool], groups: Sequence[str]) -> dict[str, Any]:
    """The share and its 95% interval, of Clopper and Pearson; where images are of groups, see `_interval`."""
    low, high = _interval(held, groups)
    return {
        "held": sum(held),
        "images": len(held),
        "coverage": sum(held) / len(held),
        "low": float(low),
        "high": float(high),
    }


def _are_of(calibration: Calibrated, results: Sequence[ImageResult], source: Source) -> bool:
    """True if they are the images of the calibration: by their pixels, and where it has no digest of these by name."""
    same_names = calibration.about["ids_sha256"] == ids_digest(source)
    if (pixels := calibration.about.get("pixels_sha256")) is not None:
        same = pixels == _pixels_digest(results)
        if same_names and not same:
            logging.warning("these images have the names of those of the calibration, and other pixels: not the same")
        return same
    are = "are" if same_names else "are not"
    logging.info(f"by their names alone these {are} the images of the calibration, which has no digest of their pixels")
    return same_names


def _pixels_digest(results: Sequence[ImageResult]) -> str:
    """SHA-256 over the digests of all images, whatever their names and their order."""
    return hashlib.sha256("\n".join(sorted(result.digest for result in results)).encode()).hexdigest()


def _score(result: ImageResult, number: int) -> Score:
    score = result.scores["mean"]
    return list(score.classes.values())[number] if score.classes else score


def _logits(results: Sequence[ImageResult]) -> np.ndarray:
    return sum(result.logits for result in results)

"""The numbers of a data set: means over images with intervals, pooled counts, and the rules behind them."""

import functools
import inspect
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from ddim_jax.aggregation import PROTOCOLS, ensemble_threshold
from ddim_jax.data import consensus_in_words
from ddim_jax.evaluation.scoring import ImageResult, Score, groups_of_results
from ddim_jax.evaluation.volumes import score_volumes
from ddim_jax.labels import Labels
from ddim_jax.metrics import (
    Calibration,
    Counts,
    bootstrap_interval,
    expected_calibration_error,
    measure_counts,
    risk_coverage,
)
from ddim_jax.metrics.bootstrap import RESAMPLES, SEED
from ddim_jax.metrics.calibration import BINS
from ddim_jax.metrics.risk_coverage import KEPT_SHARE
from ddim_jax.registry import ENSEMBLES, HYPOTHESIS_METRICS, METRICS

_RULES = {
    "foreground": (
        "probability strictly above the threshold; of exclusive classes with no threshold (null) the likeliest, the "
        "background at 1 minus their sum"
    ),
    "classes": (
        "several classes: each against all else. per_image and pooled are means over the classes of each measure; the "
        "pixel counts are sums; classes has each by its name. Dice, doubt and risk_coverage are of those means"
    ),
    "ignored": "pixels with the truth's values of data.ignore are in no count and no calibration; background for hd95",
    "per_image": (
        f"mean over images; the interval is a 95% percentile bootstrap ({RESAMPLES} resamples, seed {SEED}) over "
        "images, or over groups of them where there are fewer: patients, folders, volumes. Of one, or of equal values, "
        "it has no width and says nothing"
    ),
    "pooled": "pixel counts summed over all images, then one ratio",
    "empty": (
        "empty_predictions, empty_truths, both_empty (Dice 1) and hd95_with_one_empty (exactly one is empty): numbers "
        "of images; of several classes of pairs of an image and a class. Beside protocols: truths without any class"
    ),
    "per_volume": (
        "pixel counts summed over the slices of a volume (a file of several images), then one ratio, and the mean over "
        "volumes; the interval as of per_image, over volumes, or groups of them where there are fewer; volumes all of "
        "whose slices are scored"
    ),
    "dice_single": "Dice of one sample alone under the same protocol, averaged over the samples of an image",
    "flips": (
        "if true, sample i saw the image in orientation i mod 4 (as it is, mirrored left to right, top to bottom, "
        "both) and was mirrored back: the samples differ by noise and orientation, those of the paper by noise alone"
    ),
    "uncertainty": (
        "standard deviation of the samples' probabilities (clipped to [-1, 1], mapped to [0, 1]), of several "
        "classes the largest, mean over the pixels of an image at the working size; at most 0.5"
    ),
    "calibration": (
        "probability of the protocol 'mean' and the ensemble at the scored resolution (native: resized), over the "
        f"pixels of all images; {BINS} equal bins of it, (b/{BINS}, (b + 1)/{BINS}], the first with 0; ece is the sum "
        "over bins of their share of the pixels times |mean probability - fraction that is foreground|. Plain "
        "background makes it small: see the bins between. Of several classes each probability against all else, all of "
        "them together"
    ),
    "bounds": (
        "of the protocol 'mean', for each class: area_uncalibrated, from the pixels above the probability "
        "(1 + nominal)/2 to those above (1 - nominal)/2; area and dice_low, calibrated by split-conformal prediction: "
        "of images drawn as those of the calibration, each holds for the share nominal or more, on average over "
        "images and draws; coverage: the share of these images that it holds for, low and high its 95% interval of "
        "Clopper and Pearson, of images in groups for as many trials as there are groups and joined with a bootstrap "
        "over them; mean_width in pixels, mean_width_share of the pixels that count; "
        "same_pictures: they are "
        "the images of the calibration, so that coverage measures nothing; ece_at_temperature: ece of calibration, "
        "had the logits been divided by the temperature, with logits beyond 10 taken for 10"
    ),
    "unlikeness": (
        "distance of an image, by 27 numbers of its look, from those of the calibration, as a "
        "multiple of its limit; flagged: above 1; within: the share of images like the calibration's that is not, by "
        "leaving one out, of groups (patients, folders, volumes) the whole group; low and high: the 95% interval of "
        "the share that is, as in bounds"
    ),
    "doubt": (
        "1 - (2 sum p m + 1) / (sum p + sum m + 1), p the mean of the samples' probabilities, m the mask "
        "of the protocol 'mean' and the ensemble, at the working size (whatever the resolution): how much of Dice "
        "the mask is expected to miss; with a calibration made before, corrected by its doubt "
        "(docs/how-to/read_the_uncertainty.md)"
    ),
    "risk_coverage": (
        "images removed one by one, most doubtful first (equal doubts: the mean over all orders), and the mean Dice of "
        "the protocol 'mean' of those kept: all, all but one, ..., one; area: its mean over these coverages; "
        "best_area: the same with the lowest Dice first; unordered_area: in no order, the mean Dice; "
        "gain: (area - unordered_area) / (best_area - unordered_area), null where all Dice are equal; "
        f"kept_dice: with kept_images = ceil({KEPT_SHARE[0] / KEPT_SHARE[1]} n) kept"
    ),
    "resolution": (
        "native: probability resized (bilinear) to the image's own size before the threshold; model: truth resized "
        "to the working size (nearest; a class that would vanish keeps a pixel: an image whose truth is not empty "
        "never counts as correctly empty)"
    ),
    "size": (
        "what the network works at, the working size: model, the image resized to image_size x image_size; native, the "
        "image at its own size, padded, and the result cropped; tiles, overlapping tiles of image_size x image_size of "
        "the image at its own size, blended"
    ),
    "annotators": (
        "of several annotators the truth of all other numbers is their consensus: the value that most of them give a "
        "pixel, of those as frequent the smallest; of classes that overlap, each that more than half give. "
        "hypotheses: the N masks that single samples make under the protocol "
        "mean, against the masks of all annotators; N ends the name of each measure"
    ),
    "seconds_per_image": (
        "from the image in memory to its samples in memory, of a batch the share of each; first_with_compilation is no "
        "share but the seconds of the whole first batch, of folds the sum of each one's; with native "
        "size the first image of each padded shape compiles a program, and counts among the rest"
    ),
}


def rules(ensemble: str) -> dict[str, str]:
    """The rules behind the numbers, in words, by what they are about; that of the ensemble is its docstring."""
    return _RULES | {"ensemble": inspect.getdoc(ENSEMBLES.get(ensemble)) or ""}


def cut_in_words(threshold: float | None) -> str:
    """Returns the rule that makes a mask of a probability: "> 0.5", or "likeliest" of exclusive classes without one."""
    return "likeliest" if threshold is None else f"> {threshold}"


def mean_and_interval(values: Sequence[float], groups: Sequence[str] | None = None) -> dict[str, float]:
    """{"mean", "low", "high"}: the mean and its 95% bootstrap interval, over groups."""
    low, high = bootstrap_interval(np.asarray(values), groups)
    return {"mean": float(np.mean(values)), "low": low, "high": high}


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation, or None where it is not defined (fewer than 3 pairs, or a list of equal values)."""
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(stats.spearmanr(first, second).statistic)


def summarise_calibration(sums: Calibration) -> dict[str, Any]:
    """{"ece", "bins"}: the expected calibration error, and for each bin {"from", "to", "pixels", "mean_probability",
    "foreground_fraction"}, the last two None where it holds no pixel."""
    count = len(sums.pixels)
    bins = [
        {
            "from": b / count,
            "to": (b + 1) / count,
            "pixels": int(pixels),
            "mean_probability": float(probability / pixels) if pixels else None,
            "foreground_fraction": float(foreground / pixels) if pixels else None,
        }
        for b, (pixels, probability, foreground) in enumerate(zip(*sums, strict=True))
    ]
    return {"ece": expected_calibration_error(sums), "bins": bins}


def _summarise_scores(scores: Sequence[Score], groups: Sequence[str]) -> dict[str, Any]:
    """The part of a protocol's summary, or of a class's, that is about the scores of the images alone."""
    pooled = sum((score.counts for score in scores), Counts(0, 0, 0, 0))
    return {
        "per_image": {
            measure: mean_and_interval([score.measures[measure] for score in scores], groups)
            for measure in scores[0].measures
        },
        "pooled": measure_counts(pooled) | pooled._asdict(),
        **_count_empty([score.counts for score in scores]),
    }


def _count_empty(found: Sequence[Counts]) -> dict[str, int]:
    """The numbers of the rule "empty", of one mask or more."""
    predicted = np.array([one.true_positive + one.false_positive == 0 for one in found])
    true = np.array([one.true_positive + one.false_negative == 0 for one in found])
    counted = {"empty_predictions": predicted, "empty_truths": true, "both_empty": predicted & true}
    return {name: int(which.sum()) for name, which in (counted | {"hd95_with_one_empty": predicted != true}).items()}


def _of_volumes(scores: Sequence[Score], groups: Sequence[str]) -> dict[str, Any]:
    """The part about whole volumes; nothing where there is none."""
    if not scores:
        return {}
    measures = scores[0].measures
    return {
        "per_volume": {name: mean_and_interval([one.measures[name] for one in scores], groups) for name in measures}
    }


def _calibration(sums: Sequence[Sequence[Calibration]], labels: Labels) -> dict[str, Any]:
    """The calibration over all images, also of each class."""
    of_class = [functools.reduce(operator.add, own) for own in zip(*sums, strict=True)]
    together = summarise_calibration(functools.reduce(operator.add, of_class))
    if not labels.several:
        return together
    return together | {"classes": dict(zip(labels.class_names, map(summarise_calibration, of_class), strict=True))}


def _summarise_hypotheses(results: Sequence[ImageResult], labels: Labels) -> dict[str, Any] | None:
    if not results[0].hypotheses:
        return None
    groups = groups_of_results(results)
    return {
        "annotators": results[0].annotators,
        "consensus": consensus_in_words(results[0].annotators, labels),
        "per_image": {
            name: mean_and_interval([result.hypotheses[name] for result in results], groups)
            for name in results[0].hypotheses
        },
        "metrics": {name: inspect.getdoc(metric) for name, metric in HYPOTHESIS_METRICS.items()},
    }


def summarise(results: Sequence[ImageResult], ensemble: str = "mean", labels: Labels = Labels()) -> dict[str, Any]:
    """Summarises the images of a data set.

    Args:
      results: one or more images, each scored under every protocol.
      ensemble: the one that fused their samples, which decides the threshold.
      labels: the classes.

    Returns:
      A dict ready for JSON:
        "protocols": for each protocol its threshold and rule; "per_image": for each measure {"mean", "low", "high"};
          "pooled": the counts and their ratios; "empty_predictions", "empty_truths", "both_empty" and
          "hd95_with_one_empty": numbers; of several classes these are means (of counts and numbers, sums), and
          "classes" has the same of each by its name;
        "metrics": for each registered metric that was measured its docstring, with its range and its rule for empty
          masks;
        "empty_truths": number of images without a foreground pixel in the truth, of any class;
        "uncertainty": {"mean", "low", "high", "rank_correlation_with_dice"}, the last for the protocol 'mean', None
          where it is not defined;
        "doubt": the same of the doubts;
        "calibration": see `summarise_calibration`, over the pixels of all images; of several classes of all of them
          together, and "classes" has each;
        "hypotheses": of several annotators {"annotators", "consensus", "per_image", "metrics"}, with the rule of the
          consensus in words, the mean and interval of each measure of `ddim_jax.metrics.hypotheses` and its docstring;
          null where there is one truth;
        "risk_coverage": {"area", "best_area", "unordered_area", "gain", "kept_images", "kept_dice"} of
          `ddim_jax.metrics.RiskCoverage`, with the Dice of the protocol 'mean';
        "volumes": number of volumes all of whose slices are scored. Where there are any, protocols and classes have
          "per_volume", for each ratio of counts {"mean", "low", "high"}.
    """
    protocols, groups, volumes = {}, groups_of_results(results), score_volumes(results)
    for name, protocol in PROTOCOLS.items():
        scores = [result.scores[name] for result in results]
        protocols[name] = {
            "threshold": ensemble_threshold(protocol, ensemble, labels),
            "probability": protocol.rule,
            **_summarise_scores(scores, groups),
            **_of_volumes([volume.scores[name] for volume in volumes], [volume.group for volume in volumes]),
        }
        if labels.several:
            classes = {
                one: _summarise_scores([score.classes[one] for score in scores], groups) for one in labels.class_names
            }
            protocols[name]["pooled"] |= {
                measure: float(np.mean([own["pooled"][measure] for own in classes.values()]))
                for measure in measure_counts(scores[0].counts)
            }
            protocols[name] |= _count_empty([one.counts for score in scores for one in score.classes.values()])
            for one in classes if volumes else ():
                own = [volume.scores[name].classes[one] for volume in volumes]
                classes[one] |= _of_volumes(own, [volume.group for volume in volumes])
            protocols[name]["classes"] = classes
    dice = [result.scores["mean"].dice for result in results]
    spreads, doubts = [result.uncertainty for result in results], [result.doubt for result in results]
    curve = risk_coverage(doubts, dice)
    return {
        "protocols": protocols,
        "metrics": {
            name: inspect.getdoc(metric)
            for name, metric in METRICS.items()
            if name in results[0].scores["mean"].measures
        },
        "empty_truths": _count_empty([result.scores["mean"].counts for result in results])["empty_truths"],
        "uncertainty": {
            **mean_and_interval(spreads, groups),
            "rank_correlation_with_dice": rank_correlation(spreads, dice),
        },
        "doubt": {
            **mean_and_interval(doubts, groups),
            "rank_correlation_with_dice": rank_correlation(doubts, dice),
        },
        "calibration": _calibration([r.calibration for r in results], labels),
        "hypotheses": _summarise_hypotheses(results, labels),
        "risk_coverage": {
            field: getattr(curve, field)
            for field in ("area", "best_area", "unordered_area", "gain", "kept_images", "kept_dice")
        },
        "volumes": len(volumes),
    }

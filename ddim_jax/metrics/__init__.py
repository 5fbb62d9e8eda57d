"""Scores of a mask, of a probability and of a doubt; pure functions.

A metric that is registered (`@register.metric("name")`) appears in every evaluation. It is a function of the pixel
counts, `metric(counts: Counts) -> float`, or of two masks [H, W] of 0 and 1, `metric(prediction, truth) -> float`;
further parameters have defaults. One in millimetres, of either kind, has a parameter `pixel_mm` as well, from row to
row and from column to column, and is left out where that is not known. Its docstring says what it gives for empty
masks; `metrics.json` holds that docstring. Metrics of several masks against several annotators are registered apart
(`ddim_jax.metrics.hypotheses`).
"""

from ddim_jax.metrics.bootstrap import bootstrap_interval
from ddim_jax.metrics.calibration import Calibration, calibration_sums, expected_calibration_error
from ddim_jax.metrics.classes import (
    calibration_of_classes,
    class_counts,
    class_doubts,
    drawn_classes,
    logit_counts_of_classes,
    measure_classes,
)
from ddim_jax.metrics.conformal import (
    Bounds,
    Quantiles,
    Statement,
    area_score,
    calibrated_bounds,
    check_coverage,
    class_statements,
    conformal_quantile,
    dice_score,
    images_needed,
)
from ddim_jax.metrics.doubt import DoubtScale, fit_doubt, scale_doubt, soft_dice_uncertainty
from ddim_jax.metrics.hypotheses import best_dice, d_max, ged, matched_iou, measure_hypotheses, overlaps
from ddim_jax.metrics.overlap import Counts, confusion_counts, dice, iou, precision, recall
from ddim_jax.metrics.registered import measure, measure_counts
from ddim_jax.metrics.risk_coverage import RiskCoverage, risk_coverage
from ddim_jax.metrics.surface import hausdorff, hd95
from ddim_jax.metrics.temperature import (
    calibration_at,
    fit_temperature,
    scale_probability,
)

__all__ = [
    "Bounds",
    "Calibration",
    "Counts",
    "DoubtScale",
    "Quantiles",
    "RiskCoverage",
    "Statement",
    "area_score",
    "best_dice",
    "bootstrap_interval",
    "calibrated_bounds",
    "calibration_at",
    "calibration_of_classes",
    "calibration_sums",
    "check_coverage",
    "class_counts",
    "class_doubts",
    "class_statements",
    "conformal_quantile",
    "confusion_counts",
    "d_max",
    "dice",
    "dice_score",
    "drawn_classes",
    "expected_calibration_error",
    "fit_doubt",
    "fit_temperature",
    "ged",
    "hausdorff",
    "hd95",
    "images_needed",
    "iou",
    "logit_counts_of_classes",
    "matched_iou",
    "measure",
    "measure_classes",
    "measure_counts",
    "measure_hypotheses",
    "overlaps",
    "precision",
    "recall",
    "risk_coverage",
    "scale_doubt",
    "scale_probability",
    "soft_dice_uncertainty",
]

"""Scores of a mask, of a probability and of a doubt; pure functions.

A metric that is registered (`@register.metric("name")`) appears in every evaluation. It is a function of the pixel
counts, `metric(counts: Counts) -> float`, or of two masks [H, W] of 0 and 1, `metric(prediction, truth) -> float`. Its
docstring says what it gives for empty masks; `metrics.json` holds that docstring.
"""

from ddim_jax.metrics.bootstrap import bootstrap_interval
from ddim_jax.metrics.calibration import Calibration, calibration_sums, expected_calibration_error
from ddim_jax.metrics.classes import calibration_of_classes, class_counts, mask_doubt, measure_classes
from ddim_jax.metrics.overlap import Counts, confusion_counts, dice, iou, precision, recall
from ddim_jax.metrics.registered import measure, measure_counts
from ddim_jax.metrics.risk_coverage import RiskCoverage, risk_coverage
from ddim_jax.metrics.soft_dice_uncertainty import soft_dice_uncertainty
from ddim_jax.metrics.surface import hausdorff, hd95

__all__ = [
    "Calibration",
    "Counts",
    "RiskCoverage",
    "bootstrap_interval",
    "calibration_of_classes",
    "calibration_sums",
    "class_counts",
    "confusion_counts",
    "dice",
    "expected_calibration_error",
    "hausdorff",
    "hd95",
    "iou",
    "mask_doubt",
    "measure",
    "measure_classes",
    "measure_counts",
    "precision",
    "recall",
    "risk_coverage",
    "soft_dice_uncertainty",
]

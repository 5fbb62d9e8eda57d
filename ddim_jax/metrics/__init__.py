"""How good a mask is and how sure: overlap, surface distance, calibration, doubt; pure functions."""

from ddim_jax.metrics.bootstrap import bootstrap_interval
from ddim_jax.metrics.calibration import Calibration, calibration_sums, expected_calibration_error
from ddim_jax.metrics.overlap import Counts, confusion_counts, dice, iou, precision, recall
from ddim_jax.metrics.risk_coverage import Rejection, rejection
from ddim_jax.metrics.soft_dice_uncertainty import soft_dice_uncertainty
from ddim_jax.metrics.surface import hausdorff, hd95

__all__ = [
    "Calibration",
    "Counts",
    "Rejection",
    "bootstrap_interval",
    "calibration_sums",
    "confusion_counts",
    "dice",
    "expected_calibration_error",
    "hausdorff",
    "hd95",
    "iou",
    "precision",
    "recall",
    "rejection",
    "soft_dice_uncertainty",
]

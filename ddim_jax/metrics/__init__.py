"""How good a mask is and how sure: overlap, surface distance, fusion of samples, calibration, doubt; pure functions."""

from ddim_jax.metrics.bootstrap import bootstrap_interval
from ddim_jax.metrics.calibration import Calibration, calibration_sums, expected_calibration_error
from ddim_jax.metrics.doubt import doubt
from ddim_jax.metrics.ensemble import ENSEMBLES, ensemble_probability, ensemble_threshold
from ddim_jax.metrics.fusion import mean_probability, sample_probabilities, uncertainty
from ddim_jax.metrics.overlap import Counts, confusion_counts, dice, iou, precision, recall
from ddim_jax.metrics.protocols import PROTOCOLS, Protocol, threshold_mask
from ddim_jax.metrics.rejection import Rejection, rejection
from ddim_jax.metrics.staple import Staple, staple
from ddim_jax.metrics.surface import hausdorff, hd95

__all__ = [
    "ENSEMBLES",
    "PROTOCOLS",
    "Calibration",
    "Counts",
    "Protocol",
    "Rejection",
    "Staple",
    "bootstrap_interval",
    "calibration_sums",
    "confusion_counts",
    "dice",
    "doubt",
    "ensemble_probability",
    "ensemble_threshold",
    "expected_calibration_error",
    "hausdorff",
    "hd95",
    "iou",
    "mean_probability",
    "precision",
    "recall",
    "rejection",
    "sample_probabilities",
    "staple",
    "threshold_mask",
    "uncertainty",
]

"""How good a mask is: overlap, surface distance, fusion of samples, protocols and intervals, as pure functions."""

from ddim_jax.metrics.bootstrap import bootstrap_interval
from ddim_jax.metrics.ensemble import ENSEMBLES, ensemble_probability, ensemble_threshold
from ddim_jax.metrics.fusion import mean_probability, sample_probabilities, uncertainty
from ddim_jax.metrics.overlap import Counts, confusion_counts, dice, iou, precision, recall
from ddim_jax.metrics.protocols import PROTOCOLS, Protocol, threshold_mask
from ddim_jax.metrics.staple import Staple, staple
from ddim_jax.metrics.surface import hausdorff, hd95

__all__ = [
    "ENSEMBLES",
    "PROTOCOLS",
    "Counts",
    "Protocol",
    "Staple",
    "bootstrap_interval",
    "confusion_counts",
    "dice",
    "ensemble_probability",
    "ensemble_threshold",
    "hausdorff",
    "hd95",
    "iou",
    "mean_probability",
    "precision",
    "recall",
    "sample_probabilities",
    "staple",
    "threshold_mask",
    "uncertainty",
]

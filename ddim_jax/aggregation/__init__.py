"""The samples of one image made into a probability, a mask and an uncertainty; pure functions."""

from ddim_jax.aggregation.ensemble import ensemble_probability, ensemble_threshold, of_masks
from ddim_jax.aggregation.ensembles.staple import Staple, staple
from ddim_jax.aggregation.fusion import mean_probability, sample_probabilities, uncertainty
from ddim_jax.aggregation.protocols import PROTOCOLS, Protocol, threshold_mask

__all__ = [
    "PROTOCOLS",
    "Protocol",
    "Staple",
    "ensemble_probability",
    "ensemble_threshold",
    "mean_probability",
    "of_masks",
    "sample_probabilities",
    "staple",
    "threshold_mask",
    "uncertainty",
]

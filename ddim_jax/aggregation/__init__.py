"""The samples of one image made into a probability, a mask and an uncertainty; pure functions."""

from ddim_jax.aggregation.ensemble import ENSEMBLES, ensemble_probability, ensemble_threshold
from ddim_jax.aggregation.fusion import mean_probability, sample_probabilities, uncertainty
from ddim_jax.aggregation.protocols import PROTOCOLS, Protocol, threshold_mask
from ddim_jax.aggregation.staple import Staple, staple

__all__ = [
    "ENSEMBLES",
    "PROTOCOLS",
    "Protocol",
    "Staple",
    "ensemble_probability",
    "ensemble_threshold",
    "mean_probability",
    "sample_probabilities",
    "staple",
    "threshold_mask",
    "uncertainty",
]

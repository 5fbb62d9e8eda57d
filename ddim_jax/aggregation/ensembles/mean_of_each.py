"""The mean of the probabilities that the protocol makes of each sample."""

import numpy as np

from ddim_jax.aggregation.protocols import Protocol
from ddim_jax.registry import register


@register.ensemble("mean_of_each")
def mean_of_each(samples: np.ndarray, protocol: Protocol) -> np.ndarray:
    """The mean of the samples' own probabilities; with the protocol "paper" each is stretched by itself."""
    return sum(protocol.probability(one[np.newaxis]).astype(float) for one in samples) / len(samples)

"""The protocol's probability of all samples together."""

import numpy as np

from ddim_jax.aggregation.protocols import Protocol
from ddim_jax.registry import register


@register.ensemble("mean")
def mean(samples: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Returns the probability that the protocol makes of all samples together; above its threshold is the mask."""
    return protocol.probability(samples)

"""An image as a network has encoded it, for denoisers that do this once and not at every step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Encoded(NamedTuple):
    """Images as a network has encoded them; they may stand in the place of the images where it is called.

    Attributes:
      features: whatever the network needs again at each step; arrays whose first axis is the batch.
      logits: float32 [batch, H, W, C], the network's answer without x_t, trained as an answer of its own.
    """

    features: Any
    logits: jax.Array


def encode(apply: Callable[..., jax.Array], params: Any, image: jax.Array | Encoded) -> jax.Array | Encoded:
    """The image as `apply` wants it at every step: what its method `encode` makes of it, or else the image."""
    if isinstance(image, Encoded) or not hasattr(apply, "encode"):
        return image
    return apply.encode(params, image)

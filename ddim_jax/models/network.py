"""A model as the processes call it."""

from typing import Any

import flax.linen as nn
import jax

from ddim_jax.diffusion import Encoded
from ddim_jax.models.spec import spec_of


class Network:
    """`network(params, *inputs)` evaluates a model; `network.encode(params, image)` does what of it is done once.

    Args:
      model: as `ddim_jax.models.create_model` makes it.
      **given: keyword arguments of each evaluation, such as `train` and `rngs`.
    """

    def __init__(self, model: nn.Module, **given: Any):
        self._model, self._given = model, given

    def __call__(self, params: Any, *inputs: Any) -> jax.Array:
        return self._model.apply({"params": params}, *inputs, **self._given)

    def encode(self, params: Any, image: jax.Array) -> jax.Array | Encoded:
        """The image [batch, H, W, 3] as the model's method `encode` makes it; itself, where none is declared."""
        if not spec_of(self._model).encodes:
            return image
        return self._model.apply({"params": params}, image, method="encode", **self._given)

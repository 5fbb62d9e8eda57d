"""A network that gives the mask of an image in one pass, behind the interface of `DiffusionProcess`.

Training, validation and inference hold one or the other and need not know which.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ddim_jax.diffusion.losses import mask_of_logits
from ddim_jax.labels import Labels
from ddim_jax.registry import LOSSES
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.sampling_options import SamplingOptions

Apply = Callable[[Any, jax.Array], jax.Array]
"""(params, image [B,H,W,3]) -> logits of "this pixel is of that channel" [B,H,W,C]."""


@dataclasses.dataclass(frozen=True)
class DirectProcess:
    """Segmentation without diffusion: nothing is noised, and the sample is the network's answer.

    The methods take the arguments of `DiffusionProcess` and ignore the timesteps, and the noise unless `uses_noise`: a
    sample of an image is the same whatever the noise.

    Attributes:
      labels: the classes of the masks.
      loss: a name in `ddim_jax.registry.LOSSES`.
      uses_noise: of the class, True if a sample depends on the noise (`StochasticProcess`).
    """

    labels: Labels = Labels()
    loss: str = "bce_dice"
    uses_noise: ClassVar[bool] = False

    @classmethod
    def create(cls, labels: Labels = Labels(), loss: str | None = None, **fields: Any) -> "DirectProcess":
        """Builds the process from a config's `diffusion` section, in which nothing but the loss may be set.

        Raises:
          ConfigError: another field has a value, or the loss is not of masks.
        """
        for name, value in fields.items():
            if value is not None:
                raise ConfigError(
                    f"diffusion.{name} is {value!r}, but this network gives the mask in one pass, without diffusion; "
                    "leave it unset"
                )
        if loss is None:
            return cls(labels)
        LOSSES.get(loss, "diffusion.loss")
        return cls(labels, loss)

    @property
    def num_train_timesteps(self) -> int:
        """One: the largest number of network evaluations for a sample."""
        return 1

    def draw_timesteps(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """int32 zeros: there is one timestep."""
        return jnp.zeros(shape, jnp.int32)

    def timesteps_at(self, quantile: jax.Array) -> jax.Array:
        """int32 zeros, one for each quantile."""
        return jnp.zeros(jnp.shape(quantile), jnp.int32)

    def losses(
        self, apply: Apply, params: Any, mask: jax.Array, image: jax.Array, noise: jax.Array, t: jax.Array
    ) -> jax.Array:
        """The training loss of each example, float32 [batch]; `mask` [batch, H, W, C] as `normalise_mask` makes it."""
        return LOSSES.get(self.loss)(apply(params, image).astype(jnp.float32), mask, self.labels)

    def sample(
        self, apply: Apply, params: Any, image: jax.Array, noise: jax.Array, options: SamplingOptions, **_: Any
    ) -> jax.Array:
        """The mask of `image` [batch, H, W, 3] as float32 [batch, H, W, C] in [-1, 1]: 2 p - 1.

        p is the sigmoid of the logits or, of exclusive classes, their softmax.

        Raises:
          ConfigError: steps is not 1.
        """
        self._check_steps(options)
        return mask_of_logits(apply(params, image).astype(jnp.float32), self.labels)

    @staticmethod
    def _check_steps(options: SamplingOptions) -> None:
        if options.steps != 1:
            raise ConfigError(
                f"sample.steps is {options.steps}; expected 1, since this network gives the mask in one pass"
            )

"""Stochastic segmentation networks: correlated Gaussian logits, from which whole masks are drawn in one pass.

The logits of all pixels and channels are eta = mu + F w + sqrt(d) e with w and e standard normal: a Gaussian whose
covariance F F^T + diag(d) has low rank but for its diagonal (Monteiro et al. 2020, arXiv 2006.06015). The network
gives mu, d and the columns of F. Without diffusion, this is the strong rival of it where several masks are true.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ddim_jax.diffusion.direct import Apply, DirectProcess
from ddim_jax.diffusion.losses import mask_of_logits, valid_pixels
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.runtime.pinned import key as key_of
from ddim_jax.sampling_options import SamplingOptions

_SMALLEST_VARIANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class StochasticProcess(DirectProcess):
    """A network of C (2 + R) channels: the mean of the logits, their own variance and R factors, each of C channels.

    The loss is minus the logarithm of the mean likelihood of `draws` draws of the logits, per pixel: their means over
    draws are inside the logarithm, so one draw that explains the mask is enough.

    Attributes:
      loss: None; the loss is not one of `ddim_jax.registry.LOSSES`.
      draws: of the logits for each example of the loss.
    """

    loss: None = dataclasses.field(default=None, init=False)
    draws: int = 20
    uses_noise: ClassVar[bool] = True

    @classmethod
    def create(cls, labels: Labels = Labels(), loss: str | None = None, **fields: Any) -> "StochasticProcess":
        """Makes the process as `DirectProcess.create` does; the loss may not be set either.

        Raises:
          ConfigError: a field has a value.
        """
        if loss is not None:
            raise ConfigError(f"diffusion.loss is {loss!r}; expected none: this network has that of its distribution")
        return super().create(labels, **fields)

    def losses(
        self, apply: Apply, params: Any, mask: jax.Array, image: jax.Array, noise: jax.Array, t: jax.Array
    ) -> jax.Array:
        """The loss of each example, float32 [batch]; arguments as `DirectProcess.losses`.

        The random numbers of an example follow from its noise, so that the same noise gives the same loss.
        """
        mean, deviation, factors = self._gaussian(apply(params, image), mask.shape[-1])
        valid = valid_pixels(mask, self.labels)

        def log_likelihood(number: jax.Array) -> jax.Array:
            keys = jax.vmap(lambda one: jax.random.fold_in(_key_in(one), number))(noise)
            logits = jax.vmap(_draw)(keys, mean, deviation, factors)
            truth = (mask + 1.0) / 2.0
            if self.labels.exclusive:
                each = jnp.sum(truth * jax.nn.log_softmax(logits), axis=-1, keepdims=True)
            else:
                each = truth * logits - jax.nn.softplus(logits)
            each = each if valid is None else each * valid
            return jnp.sum(each, axis=(1, 2, 3))

        of_draws = jax.lax.map(log_likelihood, jnp.arange(self.draws))
        likelihood = jax.nn.logsumexp(of_draws, axis=0) - jnp.log(self.draws)
        pixels = mask.shape[1] * mask.shape[2] if valid is None else jnp.maximum(jnp.sum(valid, axis=(1, 2, 3)), 1.0)
        return -likelihood / pixels

    def sample(
        self,
        apply: Apply,
        params: Any,
        image: jax.Array,
        noise: jax.Array,
        options: SamplingOptions,
        **_: Any,
    ) -> jax.Array:
        """One draw for each of `image` [batch, H, W, 3], as `DirectProcess.sample` gives masks.

        Raises:
          ConfigError: steps is not 1.
        """
        self._check_steps(options)
        gaussian = self._gaussian(apply(params, image), noise.shape[-1])
        return mask_of_logits(jax.vmap(_draw)(jax.vmap(_key_in)(noise), *gaussian), self.labels)

    @staticmethod
    def _gaussian(output: jax.Array, channels: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Mean [B,H,W,C], deviation [B,H,W,C] and factors [B,H,W,C,R] of the output [B,H,W,C (2 + R)]."""
        output = output.astype(jnp.float32)
        mean, variance, factors = jnp.split(output, (channels, 2 * channels), axis=-1)
        deviation = jnp.sqrt(jax.nn.softplus(variance) + _SMALLEST_VARIANCE)
        return mean, deviation, factors.reshape(*mean.shape, -1)


def _draw(key: jax.Array, mean: jax.Array, deviation: jax.Array, factors: jax.Array) -> jax.Array:
    """Logits [H, W, C] of one image."""
    common, own = jax.random.split(key)
    weights = jax.random.normal(common, factors.shape[-1:])
    return mean + factors @ weights + deviation * jax.random.normal(own, mean.shape)


def _key_in(noise: jax.Array) -> jax.Array:
    """A key made of the first numbers of a normal noise [H, W, C]: another noise, another key."""
    key = key_of(0)
    for word in jnp.unstack(jax.lax.bitcast_convert_type(jnp.resize(noise, (4,)).astype(jnp.float32), jnp.uint32)):
        key = jax.random.fold_in(key, word)
    return key

"""A diffusion process over masks, conditioned on an image: the training loss and the sampling of one denoiser.

Everything that the loss and the sampler must agree on (what the network predicts, how its input and output are scaled)
is decided in this one place.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ddim_jax.diffusion.forward import add_noise, signal_and_noise_rates
from ddim_jax.diffusion.sampler import PREDICTIONS, Trajectory, ddim_sample
from ddim_jax.diffusion.schedule import Schedule, linear_schedule
from ddim_jax.io.errors import ConfigError

LOSSES = ("mse", "bce_dice")

Apply = Callable[[Any, jax.Array, jax.Array, jax.Array], jax.Array]
"""(params, noisy_mask [B,H,W,1], image [B,H,W,3], t int32 [B]) -> network output [B,H,W,1]."""


@dataclasses.dataclass(frozen=True, eq=False)
class DiffusionProcess:
    """How masks are noised, what the network learns about them, and how they are sampled.

    Attributes:
      schedule: the noise schedule.
      prediction: what the network estimates, "noise" (the paper) or "x0" (the mask itself).
      loss: "mse" is the mean squared error of the prediction (the paper's Eq. 3). "bce_dice", for x0 alone, reads the
        network's output as logits of "this pixel is in the mask" and adds binary cross-entropy and soft Dice.
      mask_scale: the mask enters the process as +-mask_scale. A mask is so redundant that at +-1 it can be read off x_t
        at almost every t; below 1 the network has to look at the image ("input scaling", Chen 2023, arXiv 2301.10972).
        The network's input is brought back to unit variance. 1 is the paper's process.
      timestep_power: training timesteps have a density proportional to t^(timestep_power - 1); 1 is uniform (the
        paper), larger values train more where sampling starts.
    """

    schedule: Schedule
    prediction: str = "noise"
    loss: str = "mse"
    mask_scale: float = 1.0
    timestep_power: float = 1.0

    def __post_init__(self):
        if self.prediction not in PREDICTIONS:
            raise ConfigError(f"diffusion.prediction is {self.prediction!r}; expected one of {', '.join(PREDICTIONS)}")
        if self.loss not in LOSSES:
            raise ConfigError(f"diffusion.loss is {self.loss!r}; expected one of {', '.join(LOSSES)}")
        if self.loss == "bce_dice" and self.prediction != "x0":
            raise ConfigError(
                f"diffusion.loss 'bce_dice' compares masks and needs prediction 'x0', not {self.prediction!r}"
            )
        if not 0.0 < self.mask_scale <= 1.0:
            raise ConfigError(f"diffusion.mask_scale is {self.mask_scale}; expected a number in (0, 1]")
        if not self.timestep_power >= 1.0:
            raise ConfigError(f"diffusion.timestep_power is {self.timestep_power}; expected 1 (uniform) or more")

    @classmethod
    def create(
        cls, *, num_train_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02, **fields: Any
    ) -> "DiffusionProcess":
        """Builds the process from the fields of a config's `diffusion` section."""
        return cls(schedule=linear_schedule(num_train_timesteps, beta_start, beta_end), **fields)

    def draw_timesteps(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Training timesteps, int32 in 0 .. T-1, with density proportional to t^(timestep_power - 1)."""
        total = self.schedule.num_train_timesteps
        u = jax.random.uniform(key, shape)
        t = jnp.floor(total * u ** (1.0 / self.timestep_power))
        return jnp.minimum(t, total - 1).astype(jnp.int32)

    def losses(
        self, apply: Apply, params: Any, mask: jax.Array, image: jax.Array, noise: jax.Array, t: jax.Array
    ) -> jax.Array:
        """The training loss of each example, float32 [batch].

        Args:
          apply: the network.
          params: its parameters.
          mask: float32 [batch, H, W, 1], values in {-1, +1}.
          image: float32 [batch, H, W, 3], in [-1, 1].
          noise: standard normal, the shape of `mask`.
          t: int32 [batch].
        """
        noisy = add_noise(self.mask_scale * mask, noise, t, self.schedule)
        output = apply(params, self._network_input(noisy, t), image, t).astype(jnp.float32)
        if self.loss == "bce_dice":
            return _bce_dice(output, (mask + 1.0) / 2.0)
        target = noise if self.prediction == "noise" else mask
        return jnp.mean((output - target) ** 2, axis=(1, 2, 3))

    def sample(
        self,
        apply: Apply,
        params: Any,
        image: jax.Array,
        noise: jax.Array,
        steps: int,
        *,
        eta: float = 0.0,
        key: jax.Array | None = None,
        clip_x0: float | None = None,
        return_trajectory: bool = False,
    ) -> jax.Array | tuple[jax.Array, Trajectory]:
        """Samples masks for `image` [batch, H, W, 3] from `noise` [batch, H, W, 1]; arguments as `ddim_sample`.

        Returns:
          Estimates of x_0, float32 [batch, H, W, 1], about -1 outside and +1 inside the mask, not clipped unless
          `clip_x0` says so (in units of the mask: 1 clips to [-1, 1]); with `return_trajectory` also the
          `Trajectory`, whose x_t is in the units of the process and whose x0 is in those of the mask.
        """

        def denoise(x_t, t):
            output = apply(params, self._network_input(x_t, t), image, t).astype(x_t.dtype)
            if self.prediction == "noise":
                return output
            x0 = jnp.tanh(output / 2.0) if self.loss == "bce_dice" else output  # tanh(l/2) = 2 sigmoid(l) - 1
            return self.mask_scale * x0

        result = ddim_sample(
            denoise,
            noise,
            self.schedule,
            steps,
            prediction=self.prediction,
            eta=eta,
            key=key,
            clip_x0=None if clip_x0 is None else clip_x0 * self.mask_scale,
            return_trajectory=return_trajectory,
        )
        if return_trajectory:
            x0, trajectory = result
            return x0 / self.mask_scale, trajectory._replace(x0=trajectory.x0 / self.mask_scale)
        return result / self.mask_scale

    def _network_input(self, x_t: jax.Array, t: jax.Array) -> jax.Array:
        """x_t brought to unit variance: its own is alpha_bar_t mask_scale^2 + 1 - alpha_bar_t."""
        if self.mask_scale == 1.0:
            return x_t
        signal_rate, noise_rate = signal_and_noise_rates(t, self.schedule, x_t.ndim, x_t.dtype)
        return x_t / jnp.sqrt((signal_rate * self.mask_scale) ** 2 + noise_rate**2)


def _bce_dice(logits: jax.Array, truth: jax.Array) -> jax.Array:
    """Binary cross-entropy (pixel mean) plus 1 - soft Dice of each example; `truth` in {0, 1}, both [B, H, W, 1]."""
    axes = (1, 2, 3)
    bce = jnp.mean(jnp.maximum(logits, 0.0) - logits * truth + jnp.log1p(jnp.exp(-jnp.abs(logits))), axis=axes)
    probability = jax.nn.sigmoid(logits)
    overlap = jnp.sum(probability * truth, axis=axes)
    # The 1 in both places makes an empty mask met by an empty prediction a Dice of one instead of 0/0.
    dice = (2.0 * overlap + 1.0) / (jnp.sum(probability, axis=axes) + jnp.sum(truth, axis=axes) + 1.0)
    return bce + 1.0 - dice

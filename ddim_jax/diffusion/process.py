"""A diffusion process over masks, conditioned on an image: the training loss and the sampling of one denoiser.

Everything that the loss and the sampler must agree on (what the network predicts, how its input and output are scaled)
is decided in this one place.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ddim_jax.diffusion.conversions import check_prediction, v_from_x0_and_noise, x0_and_noise_from_v
from ddim_jax.diffusion.encoded import Encoded, encode
from ddim_jax.diffusion.forward import add_noise, signal_and_noise_rates
from ddim_jax.diffusion.losses import (
    MSE,
    LossNames,
    mask_of_logits,
    mean_over_pixels,
    min_snr_weights,
    valid_pixels,
)
from ddim_jax.diffusion.reverse import Trajectory, check_clip
from ddim_jax.diffusion.schedule import Schedule, create_schedule
from ddim_jax.labels import Labels
from ddim_jax.registry import LOSSES, SAMPLERS
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.runtime.values import is_number
from ddim_jax.sampling_options import SamplingOptions

LOSS_WEIGHTS = ("plain", "min_snr")

Apply = Callable[[Any, jax.Array, jax.Array, jax.Array], jax.Array]
"""(params, noisy_mask [B,H,W,C], image [B,H,W,3], t int32 [B]) -> network output [B,H,W,C]."""


@dataclasses.dataclass(frozen=True, eq=False)
class DiffusionProcess:
    """A diffusion process: noises masks, defines the network's target and loss, and samples.

    Attributes:
      schedule: the noise schedule.
      prediction: what the network estimates: "noise" (the paper), "x0" (the mask itself) or "v", a mixture of both that
        is mostly the noise at small t and minus the mask at large t. v is that of the network's input, which has unit
        variance: with the input sqrt(a) mask + sqrt(1 - a) noise, v = sqrt(a) noise - sqrt(1 - a) mask, so that the
        target has unit variance as well, whatever `mask_scale`.
      loss: "mse" is the mean squared error of the prediction (the paper's Eq. 3). Those of `ddim_jax.registry.LOSSES`,
        for x0 alone, read the network's output as logits of "this pixel is of that channel": binary for one class,
        softmax for exclusive ones. "bce_dice" adds cross-entropy and soft Dice.
      mask_scale: the mask enters the process as +-mask_scale. A mask is so redundant that at +-1 it can be read off x_t
        at almost every t; below 1 the network has to look at the image (the signal factor of "analog bits", Chen et al.
        2023, arXiv 2208.04202; "input scaling", Chen 2023, arXiv 2301.10972). The network's input is brought back to
        unit variance. 1 is the paper's process.
      timestep_power: training timesteps have a density proportional to t^(timestep_power - 1); 1 is uniform (the
        paper), larger values train more where sampling starts.
      loss_weight: "plain" (the paper), or "min_snr", which multiplies the loss of an example by the `min_snr_weights`
        of its timestep; the signal is the mask at +-mask_scale. With x0 and v these weights vanish with the signal: the
        network learns little at large t, where sampling starts and with few steps stays, and nothing at alpha_bar = 0.
      labels: the classes, which decide the mask's channels C: one for one class; of several, x_0 is +1 in the channel
        of a class where it is, else -1, and of exclusive ones the first channel is the background.
    """

    schedule: Schedule
    prediction: str = "noise"
    loss: str = "mse"
    mask_scale: float = 1.0
    timestep_power: float = 1.0
    loss_weight: str = "plain"
    labels: Labels = Labels()

    def __post_init__(self):
        check_prediction(self.prediction, self.schedule)
        if self.loss not in (names := LossNames()):
            raise ConfigError(f"diffusion.loss is {self.loss!r}; expected one of {', '.join(names)}")
        if self.loss != MSE and self.prediction != "x0":
            raise ConfigError(
                f"diffusion.loss {self.loss!r} compares masks and needs prediction 'x0', not {self.prediction!r}: add "
                "--config.diffusion.prediction=x0"
            )
        if not is_number(self.mask_scale) or not 0.0 < self.mask_scale <= 1.0:
            raise ConfigError(f"diffusion.mask_scale is {self.mask_scale!r}; expected a number in (0, 1]")
        if not is_number(self.timestep_power) or not 1.0 <= self.timestep_power < math.inf:
            raise ConfigError(f"diffusion.timestep_power is {self.timestep_power!r}; expected 1 (uniform) or more")
        if self.loss_weight not in LOSS_WEIGHTS:
            raise ConfigError(
                f"diffusion.loss_weight is {self.loss_weight!r}; expected one of {', '.join(LOSS_WEIGHTS)}"
            )

    @classmethod
    def create(
        cls,
        *,
        noise_schedule: str = "linear",
        num_train_timesteps: int = 1000,
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        zero_terminal_snr: bool = False,
        **fields: Any,
    ) -> "DiffusionProcess":
        """Builds the process from the fields of a config's `diffusion` section.

        Raises:
          ConfigError: a field cannot work, as `create_schedule` and this class have it.
        """
        known = {field.name for field in dataclasses.fields(cls)} - {"schedule"}
        unknown = sorted(set(fields) - known)
        if unknown:
            raise ConfigError(f"diffusion has no field {', '.join(map(repr, unknown))}")
        built = create_schedule(noise_schedule, num_train_timesteps, beta_start, beta_end, zero_terminal_snr)
        return cls(schedule=built, **fields)

    @property
    def num_train_timesteps(self) -> int:
        """T, the largest number of network evaluations for a sample."""
        return self.schedule.num_train_timesteps

    def draw_timesteps(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Training timesteps, int32 in 0 .. T-1, with density proportional to t^(timestep_power - 1)."""
        return self.timesteps_at(jax.random.uniform(key, shape))

    def timesteps_at(self, quantile: jax.Array) -> jax.Array:
        """The timesteps, int32, at quantiles in [0, 1] of what training draws from: floor(T u^(1 / timestep_power))."""
        total = self.schedule.num_train_timesteps
        t = jnp.floor(total * quantile ** (1.0 / self.timestep_power))
        return jnp.minimum(t, total - 1).astype(jnp.int32)

    def losses(
        self, apply: Apply, params: Any, mask: jax.Array, image: jax.Array, noise: jax.Array, t: jax.Array
    ) -> jax.Array:
        """The training loss of each example, float32 [batch].

        Of a network with `Encoded` images, the loss of the trunk's own logits is added: "bce_dice" beside "mse".

        Args:
          apply: the network.
          params: its parameters.
          mask: float32 [batch, H, W, C], as `ddim_jax.preprocessing.normalise_mask` makes it.
          image: float32 [batch, H, W, 3], in [-1, 1].
          noise: standard normal, the shape of `mask`.
          t: int32 [batch].
        """
        noisy = add_noise(self.mask_scale * mask, noise, t, self.schedule)
        image = encode(apply, params, image)
        output = apply(params, self._network_input(noisy, t), image, t).astype(jnp.float32)
        of_masks = LOSSES.get("bce_dice" if self.loss == MSE else self.loss)
        if self.loss == MSE:
            errors = (output - self._target(mask, noise, t)) ** 2
            losses = mean_over_pixels(errors, valid_pixels(mask, self.labels))
        else:
            losses = of_masks(output, mask, self.labels)
        losses = losses if self.loss_weight == "plain" else self._min_snr_weights(t) * losses
        if isinstance(image, Encoded):  # whatever the head learns, the trunk learns the mask
            losses += of_masks(image.logits.astype(jnp.float32), mask, self.labels)
        return losses

    def sample(
        self,
        apply: Apply,
        params: Any,
        image: jax.Array,
        noise: jax.Array,
        options: SamplingOptions,
        *,
        key: jax.Array | None = None,
        return_trajectory: bool = False,
    ) -> jax.Array | tuple[jax.Array, Trajectory]:
        """Samples masks for `image` [batch, H, W, 3], or for what it was encoded as, from `noise` [batch, H, W, C].

        `options.sampler` names the sampler, which reads `steps`, `clip_x0` (in units of the mask: 1 clips to [-1, 1])
        and what is its own. `key` and `return_trajectory` are as `ddim_sample` has them.

        Returns:
          Estimates of x_0, float32 [batch, H, W, C], about -1 outside and +1 inside the mask, not clipped unless
          `clip_x0` says so; with `return_trajectory` also the `Trajectory`, whose x_t is in the units of the process
          and whose x0 is in those of the mask.

        Raises:
          ConfigError: an unknown sampler, one that does not return masks of the shape and dtype of `noise`, or as the
            sampler does.
        """

        image = encode(apply, params, image)
        check_clip(options.clip_x0)  # here, where it is in the user's units

        def denoise(x_t, t):
            network_input = self._network_input(x_t, t)
            output = apply(params, network_input, image, t).astype(x_t.dtype)
            if self.prediction == "noise":
                return output
            if self.prediction == "v":
                return self._v_of_process(network_input, output, t)
            x0 = output if self.loss == MSE else mask_of_logits(output, self.labels)
            return self.mask_scale * x0

        if options.clip_x0 is not None:
            options = dataclasses.replace(options, clip_x0=options.clip_x0 * self.mask_scale)
        result = SAMPLERS.get(options.sampler, "sample.sampler")(
            denoise,
            noise,
            self.schedule,
            options,
            prediction=self.prediction,
            key=key,
            return_trajectory=return_trajectory,
        )
        x0, trajectory = result if return_trajectory else (result, None)
        _check_sampled(options.sampler, x0, noise)
        x0 = x0 / self.mask_scale
        return (x0, trajectory._replace(x0=trajectory.x0 / self.mask_scale)) if return_trajectory else x0

    def _network_input(self, x_t: jax.Array, t: jax.Array) -> jax.Array:
        """x_t brought to unit variance: its own is alpha_bar_t mask_scale^2 + 1 - alpha_bar_t."""
        if self.mask_scale == 1.0:
            return x_t
        return x_t / self._input_norm(*signal_and_noise_rates(t, self.schedule, x_t.ndim, x_t.dtype))

    def _input_norm(self, signal_rate: jax.Array, noise_rate: jax.Array) -> jax.Array:
        """The standard deviation of x_t."""
        return jnp.sqrt((signal_rate * self.mask_scale) ** 2 + noise_rate**2)

    def _input_rates(self, t: jax.Array, ndim: int, dtype) -> tuple[jax.Array, jax.Array]:
        """The factors of the mask at +-1 and of the noise in the network's input; their squares add up to 1."""
        signal_rate, noise_rate = signal_and_noise_rates(t, self.schedule, ndim, dtype)
        norm = self._input_norm(signal_rate, noise_rate)
        return signal_rate * self.mask_scale / norm, noise_rate / norm

    def _target(self, mask: jax.Array, noise: jax.Array, t: jax.Array) -> jax.Array:
        """The target of the network."""
        if self.prediction == "v":
            return v_from_x0_and_noise(mask, noise, *self._input_rates(t, mask.ndim, mask.dtype))
        return noise if self.prediction == "noise" else mask

    def _v_of_process(self, network_input: jax.Array, output: jax.Array, t: jax.Array) -> jax.Array:
        """The v of x_t and the mask at +-mask_scale, from that of the network's input and the mask at +-1."""
        if self.mask_scale == 1.0:
            return output
        mask, noise = x0_and_noise_from_v(network_input, output, *self._input_rates(t, output.ndim, output.dtype))
        rates = signal_and_noise_rates(t, self.schedule, output.ndim, output.dtype)
        return v_from_x0_and_noise(self.mask_scale * mask, noise, *rates)

    def _min_snr_weights(self, t: jax.Array) -> jax.Array:
        alpha_bars = self.schedule.alpha_bars
        snr = self.mask_scale**2 * alpha_bars / (1.0 - alpha_bars)
        return jnp.asarray(min_snr_weights(snr, self.prediction), jnp.float32)[t]


def _check_sampled(sampler: str, masks: object, noise: jax.Array) -> None:
    """Refuses what a sampler returned if it has not the shape and dtype of the noise, while it is traced."""
    found, expected = (  # as text: a size of an exported program may be a symbol
        f"{one.dtype} [{', '.join(map(str, one.shape))}]" if hasattr(one, "shape") else type(one).__name__
        for one in (masks, noise)
    )
    if found != expected:
        raise ConfigError(f"the sampler {sampler!r} returns {found}; expected {expected}, as the noise it is given")

"""The noise schedules and the timesteps a sampler visits."""

import dataclasses

import numpy as np

from ddim_jax.runtime.errors import ConfigError
from ddim_jax.runtime.values import is_number, is_whole

SCHEDULES = ("linear", "cosine")
MOST_TIMESTEPS = 10**5
_LEAST_ALPHA_BAR = 1e-30
"""Below it, coefficients and their ratios leave the range of float32: samples would be NaN. The usual end is 4e-5."""
LEAST_BETA = 1e-12
"""Below it, 1 - alpha_bar of the first timestep loses its digits in float64, and below 1e-16 it is 0, to divide by."""

_COSINE_OFFSET = 0.008
_COSINE_LARGEST_BETA = 0.999


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule:
    """beta_t and alpha_bar_t = prod_{s <= t} (1 - beta_s), for t = 0 .. T-1.

    Kept in float64 on the host. Whoever needs a coefficient computes it from these in float64 and casts it once: near
    t = 0, 1 - alpha_bar_t is about 1e-4 and float32 would leave it three digits.

    Attributes:
      betas: float64 [T], in (0, 1); the last is 1 with a terminal signal-to-noise ratio of zero.
      alpha_bars: float64 [T], strictly decreasing, in (0, 1); the last is 0 with a terminal signal-to-noise ratio of
        zero.
    """

    betas: np.ndarray
    alpha_bars: np.ndarray

    @property
    def num_train_timesteps(self) -> int:
        """T, the number of timesteps."""
        return len(self.betas)


def create_schedule(
    name: str = "linear",
    num_train_timesteps: int = 1000,
    beta_start: float = 1e-4,
    beta_end: float = 0.02,
    zero_terminal_snr: bool = False,
) -> Schedule:
    """The schedule that a config's `diffusion` section describes.

    Args:
      name: "linear" (`linear_schedule`) or "cosine" (`cosine_schedule`, which has no use for the betas).
      num_train_timesteps: T.
      beta_start, beta_end: of the linear schedule.
      zero_terminal_snr: whether it is rescaled to end at alpha_bar = 0 (`with_zero_terminal_snr`).

    Raises:
      ConfigError: an unknown name, or as these functions do.
    """
    if name not in SCHEDULES:
        raise ConfigError(f"diffusion.noise_schedule is {name!r}; expected one of {', '.join(SCHEDULES)}")
    if not isinstance(zero_terminal_snr, bool):
        raise ConfigError(f"diffusion.zero_terminal_snr is {zero_terminal_snr!r}; expected true or false")
    if name == "linear":
        schedule = linear_schedule(num_train_timesteps, beta_start, beta_end)
    else:
        schedule = cosine_schedule(num_train_timesteps)
    return with_zero_terminal_snr(schedule) if zero_terminal_snr else schedule


def linear_schedule(num_train_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Schedule:
    """The linear schedule of DDPM (Ho et al. 2020) and of the paper: beta grows evenly from beta_start to beta_end.

    Raises:
      ConfigError: fewer than one timestep, not 1e-12 <= beta_start <= beta_end < 1, or betas that let alpha_bar vanish.
    """
    _check_timesteps(num_train_timesteps)
    if not is_number(beta_start) or not is_number(beta_end) or not LEAST_BETA <= beta_start <= beta_end < 1.0:
        raise ConfigError(
            f"diffusion.beta_start is {beta_start!r} and diffusion.beta_end is {beta_end!r}; "
            f"expected {LEAST_BETA:g} <= start <= end < 1"
        )
    betas = np.linspace(beta_start, beta_end, num_train_timesteps, dtype=np.float64)
    alpha_bars = np.cumprod(1.0 - betas)
    if alpha_bars[-1] < _LEAST_ALPHA_BAR:
        raise ConfigError(
            f"diffusion.num_train_timesteps is {num_train_timesteps} with diffusion.beta_start {beta_start!r} and "
            f"diffusion.beta_end {beta_end!r}: alpha_bar ends at {alpha_bars[-1]:.0e}, which float32 cannot divide by "
            f"(at least {_LEAST_ALPHA_BAR:g}). Lower the betas or the number of timesteps"
        )
    return Schedule(betas=betas, alpha_bars=alpha_bars)


def cosine_schedule(num_train_timesteps: int = 1000) -> Schedule:
    """The cosine schedule (Nichol and Dhariwal, ICML 2021, Eq. 17).

    After k = t + 1 of T noising steps alpha_bar = f(k) / f(0) with f(k) = cos^2((k/T + s) / (1 + s) pi/2), s = 0.008.
    As there, no beta is above 0.999: f(T) = 0 would make the last one 1.

    Raises:
      ConfigError: fewer than one timestep.
    """
    _check_timesteps(num_train_timesteps)
    k = np.arange(num_train_timesteps + 1) / num_train_timesteps
    f = np.cos((k + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * np.pi / 2) ** 2
    betas = np.minimum(1.0 - f[1:] / f[:-1], _COSINE_LARGEST_BETA)
    return Schedule(betas=betas, alpha_bars=np.cumprod(1.0 - betas))


def with_zero_terminal_snr(schedule: Schedule) -> Schedule:
    """Shifts and stretches sqrt(alpha_bar) so that it ends at 0 and begins where it did.

    Lin et al., WACV 2024 (arXiv 2305.08891), Algorithm 1. Sampling starts from pure noise; without this the network
    never sees pure noise in training, which shows most where few steps are taken.

    Raises:
      ConfigError: the schedule has one timestep, which cannot both begin and end.
    """
    if schedule.num_train_timesteps < 2:
        raise ConfigError(
            f"diffusion.num_train_timesteps is {schedule.num_train_timesteps}; expected at least 2 with "
            "diffusion.zero_terminal_snr"
        )
    signal = np.sqrt(schedule.alpha_bars)
    alpha_bars = ((signal - signal[-1]) * (signal[0] / (signal[0] - signal[-1]))) ** 2
    alpha_bars[0] = schedule.alpha_bars[0]  # to the bit
    return Schedule(betas=1.0 - alpha_bars / np.append(1.0, alpha_bars[:-1]), alpha_bars=alpha_bars)


def timestep_grid(num_train_timesteps: int, steps: int) -> np.ndarray:
    """The timesteps of a sampler with `steps` network evaluations: T-1, T-1-N, T-1-2N, ... with N = T/steps.

    Where N is not whole, multiples of N are rounded (halves up), which keeps the grid strictly decreasing. The step
    after the last timestep leads to alpha_bar = 1, the clean mask; it is not part of the grid.

    Returns:
      int32 [steps], strictly decreasing, the first T-1, all >= 0.

    Raises:
      ConfigError: steps is not a whole number in 1 .. num_train_timesteps.
    """
    if not is_whole(steps, 1) or steps > num_train_timesteps:
        raise ConfigError(f"sample.steps is {steps!r}; expected a whole number from 1 to {num_train_timesteps}")
    # floor(i * T / steps + 1/2) in whole numbers: no float rounding decides which timestep is meant.
    offsets = (2 * np.arange(steps, dtype=np.int64) * num_train_timesteps + steps) // (2 * steps)
    return (num_train_timesteps - 1 - offsets).astype(np.int32)


def _check_timesteps(num_train_timesteps: int) -> None:
    if not is_whole(num_train_timesteps, 1) or num_train_timesteps > MOST_TIMESTEPS:
        raise ConfigError(
            f"diffusion.num_train_timesteps is {num_train_timesteps!r}; expected a whole number, at least 1 "
            f"and at most {MOST_TIMESTEPS}"
        )

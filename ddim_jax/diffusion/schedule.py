"""The noise schedule and the timesteps a sampler visits."""

import dataclasses

import numpy as np

from ddim_jax.io.errors import ConfigError


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule:
    """beta_t and alpha_bar_t = prod_{s <= t} (1 - beta_s), for t = 0 .. T-1.

    Kept in float64 on the host. Whoever needs a coefficient computes it from these in float64 and casts it once: near
    t = 0, 1 - alpha_bar_t is about 1e-4 and float32 would leave it three digits.

    Attributes:
      betas: float64 [T], in (0, 1).
      alpha_bars: float64 [T], strictly decreasing, in (0, 1).
    """

    betas: np.ndarray
    alpha_bars: np.ndarray

    @property
    def num_train_timesteps(self) -> int:
        return len(self.betas)


def linear_schedule(num_train_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Schedule:
    """The linear schedule of DDPM (Ho et al. 2020) and of the paper: beta grows evenly from beta_start to beta_end.

    Raises:
      ConfigError: fewer than one timestep, or not 0 < beta_start <= beta_end < 1.
    """
    if num_train_timesteps < 1:
        raise ConfigError(f"diffusion.num_train_timesteps is {num_train_timesteps}; expected at least 1")
    if not 0.0 < beta_start <= beta_end < 1.0:
        raise ConfigError(
            f"diffusion.beta_start is {beta_start} and diffusion.beta_end is {beta_end}; expected 0 < start <= end < 1"
        )
    betas = np.linspace(beta_start, beta_end, num_train_timesteps, dtype=np.float64)
    return Schedule(betas=betas, alpha_bars=np.cumprod(1.0 - betas))


def timestep_grid(num_train_timesteps: int, steps: int) -> np.ndarray:
    """The timesteps of a sampler with `steps` network evaluations: T-1, T-1-N, T-1-2N, ... with N = T/steps.

    Where N is not whole, multiples of N are rounded (halves up), which keeps the grid strictly decreasing. The step
    after the last timestep leads to alpha_bar = 1, the clean mask; it is not part of the grid.

    Returns:
      int32 [steps], strictly decreasing, the first T-1, all >= 0.

    Raises:
      ConfigError: steps is not in 1 .. num_train_timesteps.
    """
    if not 1 <= steps <= num_train_timesteps:
        raise ConfigError(f"sample.steps is {steps}; expected a whole number from 1 to {num_train_timesteps}")
    # floor(i * T / steps + 1/2) in whole numbers: no float rounding decides which timestep is meant.
    offsets = (2 * np.arange(steps, dtype=np.int64) * num_train_timesteps + steps) // (2 * steps)
    return (num_train_timesteps - 1 - offsets).astype(np.int32)

"""The diffusion process: schedules, forward noising, losses and samplers; and segmentation without it. No Flax."""

from ddim_jax.diffusion.conversions import (
    PREDICTIONS,
    noise_from_x0,
    v_from_x0_and_noise,
    x0_and_noise,
    x0_and_noise_from_v,
    x0_from_noise,
)
from ddim_jax.diffusion.direct import DirectProcess
from ddim_jax.diffusion.encoded import Encoded, encode
from ddim_jax.diffusion.forward import add_noise
from ddim_jax.diffusion.losses import min_snr_weights
from ddim_jax.diffusion.process import DiffusionProcess
from ddim_jax.diffusion.reverse import Trajectory
from ddim_jax.diffusion.samplers.ddim import ddim_sample
from ddim_jax.diffusion.samplers.ddpm import ddpm_sample
from ddim_jax.diffusion.samplers.dpm_solver import dpm_solver_sample
from ddim_jax.diffusion.schedule import (
    SCHEDULES,
    Schedule,
    cosine_schedule,
    create_schedule,
    linear_schedule,
    timestep_grid,
    with_zero_terminal_snr,
)

__all__ = [
    "PREDICTIONS",
    "SCHEDULES",
    "DiffusionProcess",
    "DirectProcess",
    "Encoded",
    "Schedule",
    "Trajectory",
    "add_noise",
    "cosine_schedule",
    "create_schedule",
    "ddim_sample",
    "ddpm_sample",
    "dpm_solver_sample",
    "encode",
    "linear_schedule",
    "min_snr_weights",
    "noise_from_x0",
    "timestep_grid",
    "v_from_x0_and_noise",
    "with_zero_terminal_snr",
    "x0_and_noise",
    "x0_and_noise_from_v",
    "x0_from_noise",
]

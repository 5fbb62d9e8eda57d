"""The diffusion process: schedule, forward noising, training losses and the DDIM sampler. Pure functions, no Flax."""

from ddim_jax.diffusion.forward import add_noise, noise_from_x0, x0_from_noise
from ddim_jax.diffusion.process import DiffusionProcess
from ddim_jax.diffusion.sampler import Trajectory, ddim_sample
from ddim_jax.diffusion.schedule import Schedule, linear_schedule, timestep_grid

__all__ = [
    "DiffusionProcess",
    "Schedule",
    "Trajectory",
    "add_noise",
    "ddim_sample",
    "linear_schedule",
    "noise_from_x0",
    "timestep_grid",
    "x0_from_noise",
]

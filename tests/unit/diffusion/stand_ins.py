"""A batch, a stand-in for the network whose answer is known, and the rates, for the tests of a process."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy_ddim

from ddim_jax import diffusion
from ddim_jax.sampling_options import SamplingOptions

SHAPE = (3, 4, 5, 1)
T = np.array([0, 400, 999])


def _by_name(sampler):
    def call(denoise, noise, schedule, steps, **given):
        own = {name: given.pop(name) for name in ("eta", "clip_x0") if name in given}
        return sampler(denoise, noise, schedule, SamplingOptions(steps=steps, **own), **given)

    return call


# The samplers with the options that they read by name.
ddim_sample = _by_name(diffusion.ddim_sample)
ddpm_sample = _by_name(diffusion.ddpm_sample)
dpm_solver_sample = _by_name(diffusion.dpm_solver_sample)


@functools.cache
def drawn_noise(seed, steps, shape, dtype=jnp.float64):
    """The documented chain: step k draws from fold_in(key, k)."""
    key = jax.random.key(seed)
    return jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(key, k), shape, dtype))(jnp.arange(steps))


def batch(seed=0):
    rng = np.random.default_rng(seed)
    mask = rng.choice([-1.0, 1.0], SHAPE).astype(np.float32)
    image = rng.uniform(-1.0, 1.0, (*SHAPE[:3], 3)).astype(np.float32)
    noise = rng.normal(size=SHAPE).astype(np.float32)
    return mask, image, noise


def some_network(params, noisy_mask, image, t):
    return jnp.tanh(params * noisy_mask + image[..., :1] - image[..., 2:] + t.reshape(-1, 1, 1, 1) / 500.0)


def some_network_numpy(params, noisy_mask, image, t):
    return np.tanh(params * noisy_mask + image[..., :1] - image[..., 2:] + np.reshape(t, (-1, 1, 1, 1)) / 500.0)


def rates(t):
    bars = numpy_ddim.alpha_bars()[t].reshape(-1, 1, 1, 1)
    return np.sqrt(bars), np.sqrt(1 - bars)


def losses(process, network=some_network, params=2.0):
    mask, image, noise = batch()
    return process.losses(network, params, jnp.asarray(mask), jnp.asarray(image), jnp.asarray(noise), jnp.asarray(T))

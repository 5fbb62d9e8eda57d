"""Stand-ins for the network whose answer is known, with what the tests of samplers and of a process share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpy_ddim
from numpy_schedules import cosine_alpha_bars, zero_terminal

from ddim_jax import diffusion
from ddim_jax.sampling_options import SamplingOptions

SHAPE = (3, 4, 5, 1)
T = np.array([0, 400, 999])
SAMPLED = (2, 3, 4, 1)
"""The shape of what the tests of the samplers draw."""
KEY_SEED = 6
SCHEDULES = {
    "linear": (diffusion.linear_schedule(), numpy_ddim.alpha_bars()),
    "cosine": (diffusion.cosine_schedule(), cosine_alpha_bars(1000)),
    "cosine to zero": (
        diffusion.with_zero_terminal_snr(diffusion.cosine_schedule()),
        zero_terminal(cosine_alpha_bars(1000)),
    ),
}
"""The package's, and alpha_bar of an independent version."""


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


def network(x, t, xp=np):
    return xp.tanh(0.6 * x - 0.4 * xp.cos(t / 170.0)) + 0.1 * x * xp.sin(t / 300.0)


def network_jax(x, t):
    return network(x, t.astype(x.dtype).reshape(-1, 1, 1, 1), jnp)


def starting_noise(dtype=np.float64):
    return np.random.default_rng(4).normal(size=SAMPLED).astype(dtype)


def compare_with_numpy(sample, reference, steps, *, schedule="linear", clip=None, drawn=False, **options):
    """Compares the path of a sampler in float64 with that of an independent version.

    Args:
      sample: of this module.
      reference: of numpy_ddim, numpy_ddpm or numpy_dpm_solver.
      schedule: of `SCHEDULES`.
      drawn: the sampler draws noise, from the key of `KEY_SEED`.
      options: those that both take: prediction, eta.
    """
    ours, bars = SCHEDULES[schedule]
    key = {"key": jax.random.key(KEY_SEED)} if drawn else {}
    with jax.enable_x64(True):
        noise = jnp.asarray(starting_noise())
        result, trajectory = sample(
            network_jax, noise, ours, steps, clip_x0=clip, return_trajectory=True, **options, **key
        )
        z = {"z": np.asarray(drawn_noise(KEY_SEED, steps, SAMPLED))} if drawn else {}
    x_t, x0 = reference(network, starting_noise(), steps, bars=bars, clip=clip, **options, **z)
    assert result.dtype == np.float64
    assert trajectory.x_t.shape == (steps + 1, *SAMPLED) and trajectory.x0.shape == (steps, *SAMPLED)
    np.testing.assert_allclose(trajectory.x_t, x_t, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(trajectory.x0, x0, rtol=1e-8, atol=1e-9)
    np.testing.assert_array_equal(result, trajectory.x_t[-1])
    np.testing.assert_array_equal(result, trajectory.x0[-1])  # alpha_bar = 1: no noise is left
    if clip is not None:
        assert np.abs(x0).max() == clip  # the bound was met, or this would show nothing


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

"""JAX's random numbers on a CPU, drawn by the compiled kernels: the same bits, in less time, and sooner compiled."""

import functools
import math
from collections.abc import Hashable

import jax
import jax.numpy as jnp
from jax.extend.random import define_prng_impl

from ddim_jax.ops import cpu_kernels


def compiled_draws(key: jax.Array, platform: str) -> jax.Array:
    """A key whose draws, and those of the keys made of it, come from the kernels, in a program for a CPU that has them.

    Args:
      key: one key of "threefry2x32", as `ddim_jax.runtime.pinned.key` makes it; its numbers are those of JAX with
        `jax_threefry_partitionable`.
      platform: of the program; on any but "cpu", and without the kernels, the key is returned as it is.
    """
    if platform != "cpu" or not cpu_kernels.available():
        return key
    return jax.random.wrap_key_data(jax.random.key_data(key), impl=_implementation())


@functools.cache
def _implementation() -> Hashable:
    return define_prng_impl(
        key_shape=(2,),
        seed=lambda seed: jnp.stack([jnp.zeros((), jnp.uint32), jnp.asarray(seed).astype(jnp.uint32)]),
        split=_split,
        random_bits=_random_bits,
        fold_in=lambda key, data: cpu_kernels.threefry(key, jnp.asarray(data).astype(jnp.uint32), 1)[0],
        name="ddim_jax_threefry2x32",
        tag="ddim_jax_fry",
    )


def _split(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return cpu_kernels.threefry(key, jnp.zeros((), jnp.uint32), math.prod(shape)).reshape(*shape, 2)


def _random_bits(key: jax.Array, bit_width: int, shape: tuple[int, ...]) -> jax.Array:
    if bit_width not in (8, 16, 32):
        raise ValueError(f"random numbers of {bit_width} bits; expected 8, 16 or 32")
    words = cpu_kernels.threefry(key, jnp.zeros((), jnp.uint32), math.prod(shape))
    return (words[:, 0] ^ words[:, 1]).astype(f"uint{bit_width}").reshape(shape)

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddim_jax.ops import cpu_kernels
from ddim_jax.ops.random_keys import compiled_draws
from ddim_jax.runtime.pinned import key as key_of


def draws(key):
    """One draw of every kind that training makes, and keys made in both ways."""
    one, two, three = jax.random.split(jax.random.fold_in(key, 12345), 3)
    return {
        "uniform": jax.random.uniform(one, (5, 3), minval=-1.0),
        "normal": jax.random.normal(two, (70, 70, 3)),  # more than one part of the kernel
        "truncated": jax.random.truncated_normal(one, -2.0, 2.0, (4,)),  # as weights begin
        "boolean": jax.random.bernoulli(three, shape=(2,)),
        "whole": jax.random.randint(one, (), 0, 1000),
        "bytes": jax.random.bits(two, (7,), jnp.uint8),
        "keys": jax.random.key_data(jax.random.split(three, (2, 2))),
    }


@pytest.mark.needs_kernels
def test_the_kernels_draw_the_bits_of_jax():
    compiled = jax.jit(draws)
    for seed in (0, 2**32 - 1):
        expected, found = (compiled(key) for key in (key_of(seed), compiled_draws(key_of(seed), "cpu")))
        jax.tree.map(np.testing.assert_array_equal, found, expected)

    # One key for each place in the batch, as in the training step.
    @jax.jit
    def each(key):
        keys = jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(3))
        return jax.vmap(lambda key: jax.random.normal(jax.random.split(key)[1], (5,)))(keys)

    np.testing.assert_array_equal(each(compiled_draws(key_of(7), "cpu")), each(key_of(7)))
    with pytest.raises(ValueError, match="random numbers of 64 bits; expected 8, 16 or 32"), jax.enable_x64(True):
        jax.random.bits(compiled_draws(key_of(7), "cpu"), (2,), jnp.uint64)


@pytest.mark.needs_kernels
def test_the_answer_of_the_authors():
    """To a key and a counter of zeros, as published with Random123."""
    found = cpu_kernels.threefry(jnp.zeros(2, jnp.uint32), jnp.uint32(0), 1)
    assert np.asarray(found).tolist() == [[0x6B200159, 0x99BA4EFE]]


def test_another_platform_keeps_its_keys():
    key = key_of(3)
    assert compiled_draws(key, "gpu") is key


def test_more_numbers_than_there_are_counters_are_refused():
    with pytest.raises(ValueError, match=r"4294967297 draws of one key; expected at most 2\^32"):
        cpu_kernels.threefry(jnp.zeros(2, jnp.uint32), jnp.uint32(0), 2**32 + 1)

"""Random numbers and types are the same whatever JAX was told by the environment."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddim_jax.runtime.pinned import key, pinned

SETTINGS = {
    "jax_default_prng_impl": "rbg",
    "jax_threefry_partitionable": False,
    "jax_random_seed_offset": 7,
    "jax_enable_x64": True,
    "jax_numpy_dtype_promotion": "strict",
    "jax_numpy_rank_promotion": "raise",
}


@contextlib.contextmanager
def set_to(name, value):
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        yield
    finally:
        jax.config.update(name, before)


@pytest.mark.parametrize("seed", [0, 3, 2**31 + 5, 2**32 - 1])
def test_a_key_is_that_of_jax(seed):
    expected = jax.random.key_data(jax.random.key(np.uint32(seed)))
    np.testing.assert_array_equal(jax.random.key_data(key(seed)), expected)
    np.testing.assert_array_equal(jax.jit(lambda seed: jax.random.key_data(key(seed)))(np.uint32(seed)), expected)


@pinned()
def drawn():
    numbers = jax.random.normal(jax.random.split(key(5))[1], (7,))
    return np.asarray(numbers + jnp.arange(7) * np.float32(2.0)[None])


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_drawn_does_not_depend_on_a_setting(name):
    before = drawn()
    with set_to(name, SETTINGS[name]):
        after = drawn()
        assert getattr(jax.config, name) == SETTINGS[name]
    assert after.dtype == np.float32
    np.testing.assert_array_equal(after, before)

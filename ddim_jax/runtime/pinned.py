"""Settings of JAX that results depend on, the same for everyone whatever the environment says."""

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

_IMPL = "threefry2x32"
_PINNED = {
    "jax_enable_x64": (False, jax.enable_x64),
    "jax_default_prng_impl": (_IMPL, jax.default_prng_impl),
    "jax_threefry_partitionable": (True, jax.threefry_partitionable),
    "jax_numpy_dtype_promotion": ("standard", jax.numpy_dtype_promotion),
    "jax_numpy_rank_promotion": ("allow", jax.numpy_rank_promotion),
}


def pin() -> None:
    """Sets them for this whole process; for commands, called once."""
    for name, (value, _) in _PINNED.items():
        jax.config.update(name, value)


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Sets them for the block, in this thread alone; for functions that programs with settings of their own call."""
    with contextlib.ExitStack() as stack:
        for name, (value, setting) in _PINNED.items():
            if getattr(jax.config, name) != value:
                stack.enter_context(setting(value))
        yield


def key(seed: int | jax.Array) -> jax.Array:
    """The key of a seed, as `jax.random.key` makes it where nothing else is set; without JAX_RANDOM_SEED_OFFSET.

    Args:
      seed: 0 <= seed < 2^32; an array is uint32 [].
    """
    seed = np.uint32(seed) if isinstance(seed, int) else seed  # as JAX reads an int, it would have to be below 2^31
    return jax.random.wrap_key_data(
        jnp.stack([jnp.zeros((), jnp.uint32), jnp.asarray(seed).astype(jnp.uint32)]), impl=_IMPL
    )

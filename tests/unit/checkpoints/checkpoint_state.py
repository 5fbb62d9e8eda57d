"""A small training state with every kind of leaf that a real one has; saved, compared and damaged."""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax


@flax.struct.dataclass
class State:
    step: jax.Array
    params: Any
    opt_state: optax.OptState
    epoch: int


@functools.cache
def make_state(step: int, width: int = 4) -> State:
    rng = np.random.default_rng(step)
    params = {
        "conv": {"kernel": jnp.asarray(rng.normal(size=(3, 3, 4, width)), jnp.float32)},
        "norm": {"scale": jnp.asarray(rng.normal(size=width), jnp.bfloat16)},
        # Values that only survive a copy of the bits.
        "odd": jnp.asarray([-0.0, np.nan, np.inf, 1e-45], jnp.float32),
    }
    grads = jax.tree.map(lambda p: np.full_like(p, step), params)
    return State(step=jnp.int32(step), params=params, opt_state=_updated(params, grads), epoch=step + 7)


@jax.jit
def _updated(params, grads):
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3, b1=0.9))
    return optimiser.update(grads, optimiser.init(params), params)[1]


def fill(store, scores):
    """Saves steps with the given Dice: `fill(store, {10: 0.5, 20: 0.9})`; None leaves the metrics out."""
    for step, dice in scores.items():
        store.save(
            step,
            state=make_state(step),
            ema_params={"ema": {"w": jnp.full((2, 3), step, jnp.float32)}},
            metadata={"config": {"seed": step}, "package_version": "1.2.3"},
            metrics=None if dice is None else {"dice": dice, "loss": 1.0 - dice},
        )


def template():
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype) if hasattr(x, "shape") else x, make_state(0))


def flip(path, position=-1):
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def array_file(store, step, item):
    """The file that holds the bulk of the array data."""
    return max((store.directory / str(step) / item).rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)

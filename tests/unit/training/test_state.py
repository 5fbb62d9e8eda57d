"""A fresh state: one program that is kept on disk, and arrays of their own."""

import flax.linen as nn
import jax
import numpy as np
import optax

from ddim_jax.training.optimiser import create_optimiser
from ddim_jax.training.state import create_state


class Layers(nn.Module):
    """Six arrays of as many shapes that nothing else here has."""

    size_multiple = 1

    @nn.compact
    def __call__(self, noisy_mask, image, t, *, train=False):
        x = image
        for width in (5, 7, 11):
            x = nn.Dense(width)(x)
        return x[..., :1]


def test_a_fresh_state_is_one_program():
    """Each array of zeros by itself would be one that is compiled again in every start: too fast to be kept."""
    optimiser = create_optimiser(optax.constant_schedule(1.0), gradient_clip=1.0)
    programs = []

    def listen(event, *_, **__):
        if event == "/jax/core/compile/backend_compile_duration":  # of those that are read from disk, too
            programs.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        state = create_state(Layers(), optimiser, 4, seed=3)
        jax.block_until_ready(state)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert 1 <= len(programs) <= 4  # the key is made by small ones
    params, average = jax.tree.leaves(state.params), jax.tree.leaves(state.ema_params)
    assert len(params) == 6 and int(state.step) == 0
    for weights, same in zip(params, average, strict=True):
        np.testing.assert_array_equal(weights, same)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(state.opt_state))
    # The step is given all of them to write into: none may lie where another does.
    places = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]
    assert len(set(places)) == len(places)

"""Processes that write one folder together wait for each other, and process 0 decides for all."""

import itertools

import jax
import numpy as np
from jax._src import distributed  # what the processes joined at has no public name
from jax.experimental import multihost_utils

PATIENCE_HOURS = 24
"""How long a process waits for the slowest: one that is lost is noticed in another way (`ddim_jax.runtime.peers`)."""
_number = itertools.count()


def wait_for_all(name: str) -> None:
    """Returns when every process of the run has come here; `name` is the same on all. Alone, it returns at once.

    Not by a collective: the first one on CPUs gives up after 30 s if a process is still on its way, reading for
    instance what the others wait for.
    """
    if jax.process_count() > 1:
        place = f"ddim_jax/{name}/{next(_number)}"  # a barrier of a name is passed once
        distributed.global_state.client.wait_at_barrier(place, PATIENCE_HOURS * 3600 * 1000)


def as_first(value: float | int) -> float:
    """`value` as process 0 has it, a float32 or an int32; every process of the run has to come here."""
    if jax.process_count() == 1:
        return value
    wait_for_all("as_first")
    return multihost_utils.broadcast_one_to_all(np.asarray(value)).item()

"""Processes that write one folder together wait for each other, and process 0 decides for all."""

import jax
import numpy as np
from jax.experimental import multihost_utils


def wait_for_all(name: str) -> None:
    """Returns when every process of the run has come here; `name` is the same on all. Alone, it returns at once."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def as_first(value: float | int) -> float:
    """`value` as process 0 has it, a float32 or an int32; every process of the run has to come here."""
    if jax.process_count() == 1:
        return value
    return multihost_utils.broadcast_one_to_all(np.asarray(value)).item()

"""Processes that write one folder together wait for each other."""

import jax
from jax.experimental import multihost_utils


def wait_for_all(name: str) -> None:
    """Returns when every process of the run has come here; `name` is the same on all. Alone, it returns at once."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)

import pytest
from tiny_runs import tiny_config

from ddim_jax.training import train


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """A run of 12 steps without an interruption."""
    workdir = tmp_path_factory.mktemp("reference")
    assert train(tiny_config(steps=12), workdir) == 12
    return workdir

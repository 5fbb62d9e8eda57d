import pytest
from tiny_runs import compiled_quickly, tiny_config

from ddim_jax.training import train


@pytest.fixture(scope="module", autouse=True)
def _compiled_quickly(compilation_cache):
    with compiled_quickly(compilation_cache):
        yield


@pytest.fixture(scope="session")
def reference(compilation_cache, tmp_path_factory):
    """A run of 12 steps without an interruption."""
    workdir = tmp_path_factory.mktemp("reference")
    with compiled_quickly(compilation_cache):
        assert train(tiny_config(steps=12), workdir) == 12
    return workdir

import pytest
from tiny_runs import compiled_quickly


@pytest.fixture(scope="module", autouse=True)
def _compiled_quickly(compilation_cache):
    """Here nearly all the time is compiling: samplers that draw noise, of arrays of a few numbers."""
    with compiled_quickly(compilation_cache):
        yield

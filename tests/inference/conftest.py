import pytest
from segmenters import tiny_segmenter


@pytest.fixture(scope="session")
def tiny():
    """Compiled once for all tests that use it at its default settings."""
    return tiny_segmenter()

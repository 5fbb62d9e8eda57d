"""Fixtures of the tests that start programs."""

import pytest


@pytest.fixture(scope="module")
def programs_share_the_cache(environment):
    """The programs of a trial are started with the environment of this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield

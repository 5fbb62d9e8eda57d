"""Fixtures of the tests that start programs."""

import pytest

from tests.slow.trials import programs
from tests.slow.trials.warm import warm_programs


@pytest.fixture(scope="session")
def warm(environment):
    """Starts programs that share their imports, which take most of the time of a short program."""
    with warm_programs(environment) as started:
        yield started


@pytest.fixture(scope="module")
def programs_share_the_cache(environment, warm):
    """The programs of a trial have this environment, share their imports and train a network soon traced.

    `python -m tests.slow.trials` starts each from nothing, with a network that has diffusion.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(programs, "WARM", warm)
        patch.setattr(programs, "CONFIG", programs.CONFIG.with_name("short_config.py"))
        yield

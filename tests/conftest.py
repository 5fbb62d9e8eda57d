"""What several folders of tests share."""

import os

import pytest

from ddim_jax.io import compile_cache


@pytest.fixture(scope="session")
def compilation_cache(tmp_path_factory):
    """A folder where compiled programs are kept until the session ends: most of a short run's time is compiling."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(autouse=True, scope="session")
def no_cache_of_the_users(tmp_path_factory):
    """The commands keep compiled programs in the user's cache folder; those that tests start have one of their own.

    Commands that run inside a test would turn the cache on for all tests after it: they keep nothing.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(compile_cache, "keep_compiled_programs", lambda: None)
        yield


@pytest.fixture(scope="session")
def environment(compilation_cache):
    """The environment of a program that a test starts: on CPUs, compiled as `tiny_runs.compiled_quickly` does."""
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(compilation_cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }

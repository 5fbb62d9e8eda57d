"""What several folders of tests share."""

import os

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from ddim_jax.runtime import allocator, compile_cache

LONGEST_FILES = (
    "test_training_processes.py",
    "test_benchmark_run.py",
    "test_train_command.py",
    "test_faults_kills.py",
    "test_torch_twin.py",
    "test_training_systems.py",
    "test_devices.py",
    "test_loop.py",
    "test_table_made.py",
    "test_remat.py",
    "test_grouped_conv.py",
)
"""They are begun first: where one of them came last, all processes but one would wait for it."""


def pytest_collection_modifyitems(items):
    place = {name: number for number, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(autouse=True, scope="session")
def no_cache_of_the_users(tmp_path_factory):
    """The commands keep compiled programs in the user's cache folder; those that tests start have one of their own.

    Commands that run inside a test would turn the cache on for all tests after it: they keep nothing, nor memory.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(compile_cache, "keep_compiled_programs", lambda: None)
        patch.setattr(allocator, "keep_freed_memory", lambda: False)
        yield


@pytest.fixture(autouse=True, scope="session")
def compiled_quickly(tmp_path_factory):
    """Most of a short run's time is compiling: here with little optimisation, and kept on disk until the session ends.

    Programs that tests start do the same, for their results have to be those of the tests to the bit.
    """
    settings = {
        "jax_disable_most_optimizations": True,
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            jax.config.update(name, value)
            patch.setenv(name.upper(), str(value))
        compilation_cache.reset_cache()  # the folder is looked up once
        yield


@pytest.fixture(scope="session")
def environment(compiled_quickly):
    """The environment of a program that a test starts: on CPUs."""
    return {**os.environ, "JAX_PLATFORMS": "cpu"}

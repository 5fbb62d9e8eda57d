"""Fixtures of all tests, and the marker `slow` of everything below tests/slow."""

import contextlib
import gc
import json
import os
import subprocess
import time
import zlib
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from tiny_runs import tiny_config, unet_config

from ddim_jax import models
from ddim_jax.inference import Segmenter, loading
from ddim_jax.ops import cpu_kernels
from ddim_jax.runtime import allocator, compile_cache
from ddim_jax.runtime.cache_folder import cache_folder, processor_digest
from ddim_jax.runtime.once import say_once
from ddim_jax.training import resume, setup, state, train

LONGEST_FILES = (
    "test_hypotheses_learnt.py",
    "test_training_processes.py",
    "test_speed_suites.py",
    "test_bad_inputs.py",
    "test_troubles.py",
    "test_odd_surroundings.py",
    "test_train_command.py",
    "test_full_disks.py",
    "test_stops.py",
    "test_broken_files.py",
    "test_picture_memory.py",
    "test_kills_and_damage.py",
    "test_torch_twin.py",
    "test_training_systems.py",
    "test_devices.py",
    "test_loop.py",
    "test_table_made.py",
    "test_remat.py",
    "test_grouped_conv.py",
)
"""They are begun first: where one of them came last, all processes but one would wait for it."""


SLOW = Path(__file__).parent / "slow"
UNUSED_DAYS = 14
"""Programs of the test cache that were compiled longer ago are removed."""


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: starts programs or takes longer than a few seconds; make test-all")
    config.addinivalue_line("markers", "long: minutes of a benchmark or of the largest images; make test-long")
    config.addinivalue_line("markers", "needs_kernels: skipped where the compiled CPU kernels are not used")
    check_kernels()
    gc.set_threshold(50_000, 20, 20)  # tracing makes many objects and little garbage; a tenth of the time was this


def pytest_collection_finish():
    gc.freeze()  # what was imported stays


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(SLOW):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("needs_kernels") and missing_kernels():
            item.add_marker(pytest.mark.skip(reason=missing_kernels()))
    place = {name: number for number, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


def check_kernels():
    """Ends a session that requires the compiled kernels, with a compiler and without kernels."""
    if os.environ.get("DDIM_JAX_REQUIRE_KERNELS") and cpu_kernels.compiler() and not cpu_kernels.available():
        raise pytest.UsageError(
            "the compiled CPU kernels are not built, and their tests would be skipped: make kernels says why, or unset "
            "DDIM_JAX_REQUIRE_KERNELS"
        )


def missing_kernels():
    """The reason why the tests of the kernels cannot run; None where they can."""
    if not cpu_kernels.available():
        how = "python -m ddim_jax.ops.cpu_kernels builds them" if cpu_kernels.compiler() else "there is no C++ compiler"
        return f"the compiled CPU kernels are not built: {how}"
    return None if jax.default_backend() == "cpu" else "the compiled kernels are for CPUs"


def pytest_terminal_summary(terminalreporter):
    if not cpu_kernels.available():
        terminalreporter.write_line(f"Tests of the compiled kernels were skipped: {missing_kernels()}")


@pytest.fixture(autouse=True, scope="session")
def no_cache_of_the_users(compiled_quickly, tmp_path_factory):
    """The commands keep compiled programs in the user's cache folder; those that tests start have one of their own.

    Commands that run inside a test would turn the cache on for all tests after it: they keep nothing, nor memory.
    """
    with pytest.MonkeyPatch.context() as patch:
        cache, kernels = tmp_path_factory.mktemp("cache"), cache_folder("kernels")
        (cache / "ddim_jax").mkdir()
        if kernels.is_dir():
            (cache / "ddim_jax/kernels").symlink_to(kernels)
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.setattr(compile_cache, "keep_compiled_programs", lambda: None)
        patch.setattr(allocator, "keep_freed_memory", lambda: False)
        yield


def programs_folder():
    """The folder of compiled programs of all test runs: $DDIM_JAX_TEST_CACHE, else one in the user's cache folder.

    Their names are digests of all that they depend on, but for the processor, which the folder is named after. A test
    that kills a program can leave half an entry, which JAX would complain of each time: what is new since the last
    session began is looked through.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = Path(os.environ.get("DDIM_JAX_TEST_CACHE") or Path(base) / "ddim_jax" / "tests")
    folder = root / processor_digest()
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "checked"
    checked = stamp.stat().st_mtime if stamp.exists() else 0.0
    stamp.touch()
    for path in folder.glob("*-cache"):
        with contextlib.suppress(OSError):  # removed by another session at the same moment
            written = path.stat().st_mtime
            if written < time.time() - UNUSED_DAYS * 86400 or (written >= checked and not is_whole(path.read_bytes())):
                path.unlink()
    return folder


def is_whole(entry):
    if entry.startswith(b"\x28\xb5\x2f\xfd"):  # of zstandard, where that is installed
        return True
    try:
        zlib.decompress(entry)
    except zlib.error:
        return False
    return True


@pytest.fixture(autouse=True, scope="session")
def compiled_quickly():
    """Most of a short run's time is compiling: here with little optimisation, and kept on disk for the next session.

    Programs that tests start do the same, for their results have to be those of the tests to the bit.
    """
    settings = {
        "jax_disable_most_optimizations": True,
        "jax_compilation_cache_dir": str(programs_folder()),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            jax.config.update(name, value)
            patch.setenv(name.upper(), str(value))
        compilation_cache.reset_cache()  # the folder is looked up once
        yield


@pytest.fixture(autouse=True, scope="session")
def traced_once():
    """Trainings and segmenters of one network share what the first traced: tracing takes longer than their steps."""

    def once(make):
        made = {}

        def make_once(*args, **fields):
            key = (*map(hashable, args), *((name, hashable(fields[name])) for name in sorted(fields)))
            if key not in made:
                made[key] = make(*args, **fields)
            return made[key]

        return make_once

    def hashable(value):
        return json.dumps(value) if isinstance(value, Mapping | list) else value

    def optimiser_once(fields, steps):
        rate = ("lr_schedule", "learning_rate", "warmup_steps")
        own = {name: fields[name] for name in (*rate, "beta1", "beta2", "gradient_clip")}
        steps = fields["schedule_steps"] or steps
        if own["lr_schedule"] == "constant" and own["warmup_steps"] < steps:
            steps = own["warmup_steps"] + 1  # on which it does not depend further
        return optimiser_of(own | {"schedule_steps": 0}, steps)

    def state_once(*arguments, **fields):
        # Also where only its shapes are asked for; copies, for a training gives away what it begins with.
        return jax.tree.map(jnp.array, fresh(*arguments, **fields))

    def computed(*arguments, **fields):
        with jax.ensure_compile_time_eval():
            return jax.tree.map(np.asarray, create_state(*arguments, **fields))

    def score_once(self, model, process, pictures, *, options, seed, **rest):
        initialise(self, model, process, pictures, options=options, seed=seed, **rest)
        self._score = scores.setdefault((model, process, options, seed), self._score)

    def segmenter_once(self, model, *arguments, programs=None, **fields):
        make_segmenter(self, model, *arguments, programs=programs, **fields)
        if programs is None:
            key = (model, self._process, self.labels, self.image_size)
            self._compiled = compiled.setdefault(key, self._compiled)

    initialise, scores = setup.Validator.__init__, {}
    make_segmenter, compiled = Segmenter.__init__, {}
    optimiser_of, create_state, fresh = once(setup.configured_optimiser), setup.create_state, once(computed)
    shapes = once(models.param_shapes)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("create_model", "create_process", "make_train_step"):
            patch.setattr(setup, name, once(getattr(setup, name)))
        patch.setattr(setup, "configured_optimiser", optimiser_once)
        for module in (setup, resume):
            patch.setattr(module, "create_state", state_once)
        for module in (models, loading, state):
            patch.setattr(module, "param_shapes", shapes)
        patch.setattr(setup.Validator, "__init__", score_once)
        patch.setattr(Segmenter, "__init__", segmenter_once)
        yield


@pytest.fixture(autouse=True)
def nothing_of_other_tests():
    """The log says some lines once."""
    say_once.cache_clear()


@pytest.fixture(scope="session")
def environment(compiled_quickly):
    """The environment of a program that a test starts: on CPUs."""
    return {**os.environ, "JAX_PLATFORMS": "cpu"}


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """A run of 12 steps without an interruption."""
    workdir = tmp_path_factory.mktemp("reference")
    assert train(tiny_config(steps=12), workdir) == 12
    return workdir


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """The same of a network without diffusion, in a fraction of the time: for what is no matter of the network."""
    workdir = tmp_path_factory.mktemp("plain")
    assert train(unet_config(steps=12), workdir) == 12
    return workdir


@pytest.fixture
def small_disk(request, tmp_path):
    """A file system of so many bytes, as `mount` takes them: `parametrize("small_disk", ["1m"], indirect=True)`."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)

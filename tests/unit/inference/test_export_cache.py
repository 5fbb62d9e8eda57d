"""Traced programs on disk: found again by what is the same, and by nothing else."""

import contextlib
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from segmenters import config, picture, tiny_params

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.inference import Segmenter
from ddim_jax.inference import export_cache as programs
from ddim_jax.inference.export_cache import TracedPrograms
from ddim_jax.registry import SAMPLERS
from ddim_jax.runtime.errors import CheckpointError

WEIGHTS = {"gain": np.float32(3.0)}


class Traced:
    """gain * x + shift, which counts how often it is traced."""

    def __init__(self):
        self.times = 0

    def __call__(self, params, x, *, shift):
        self.times += 1
        return params["gain"] * x + shift


def kept(folder, about=None, params=WEIGHTS):
    function = Traced()
    return function, TracedPrograms(folder, about or {"name": "a"}, params).kept(function)


def test_the_next_process_does_not_trace(tmp_path):
    x = np.arange(3, dtype=np.float32)
    first, call = kept(tmp_path)
    np.testing.assert_array_equal(call(WEIGHTS, x, shift=1), [1.0, 4.0, 7.0])
    np.testing.assert_array_equal(call({"gain": np.float32(2.0)}, x, shift=1), [1.0, 3.0, 5.0])
    assert first.times == 1
    second, call = kept(tmp_path)
    np.testing.assert_array_equal(call({"gain": np.float32(2.0)}, x, shift=1), [1.0, 3.0, 5.0])
    assert second.times == 0


@pytest.mark.parametrize("other", ["shape", "dtype", "static", "config", "weights", "jax", "code", "version"])
def test_what_differs_is_traced_again(tmp_path, monkeypatch, other):
    kept(tmp_path)[1](WEIGHTS, np.arange(3, dtype=np.float32), shift=1)
    about, params, x, shift, expected = {"name": "a"}, WEIGHTS, np.arange(3, dtype=np.float32), 1, [1.0, 4.0, 7.0]
    if other == "shape":
        x, expected = x[:2], expected[:2]
    elif other == "dtype":
        x = x.astype(np.int32)
    elif other == "static":
        shift, expected = 2, [2.0, 5.0, 8.0]
    elif other == "config":
        about = {"name": "b"}
    elif other == "weights":
        params = {"gain": np.full(3, 3.0, np.float32)}
    elif other == "code":
        monkeypatch.setattr(programs, "_CODE", "another")
    elif other == "version":
        monkeypatch.setattr(programs.flax, "__version__", "another")
    function, call = kept(tmp_path, about, params)
    with jax.default_matmul_precision("float32") if other == "jax" else contextlib.nullcontext():
        np.testing.assert_array_equal(call(params, x, shift=shift), expected)
    assert function.times == 1
    if other == "jax":  # what was traced in the block is not what is used outside
        np.testing.assert_array_equal(call(params, x, shift=shift), expected)
        assert function.times == 1 and len(list(tmp_path.glob("*/*.bin"))) == 2


@pytest.mark.parametrize("damage", [lambda content: content[:-1] + b"x", lambda content: content[:20], lambda _: b""])
def test_a_damaged_program_is_made_again(tmp_path, caplog, damage):
    x = np.arange(3, dtype=np.float32)
    kept(tmp_path)[1](WEIGHTS, x, shift=1)
    (path,) = tmp_path.glob("*/*.bin")
    path.write_bytes(damage(path.read_bytes()))
    function, call = kept(tmp_path)
    np.testing.assert_array_equal(call(WEIGHTS, x, shift=1), [1.0, 4.0, 7.0])
    assert function.times == 1 and str(path) in caplog.text
    function, call = kept(tmp_path)
    call(WEIGHTS, x, shift=1)
    assert function.times == 0


def test_where_nothing_can_be_kept_it_works_all_the_same(tmp_path, caplog):
    (tmp_path / "file").touch()
    function, call = kept(tmp_path / "file")
    np.testing.assert_array_equal(call(WEIGHTS, np.ones(2, np.float32), shift=0), [3.0, 3.0])
    assert function.times == 1 and "not kept" in caplog.text and str(tmp_path / "file") in caplog.text


def test_those_used_longest_ago_are_removed(tmp_path, monkeypatch):
    x = np.arange(3, dtype=np.float32)
    _, call = kept(tmp_path)
    call(WEIGHTS, x, shift=0)
    (first,) = tmp_path.glob("*/*.bin")
    call(WEIGHTS, x, shift=1)
    (second,) = set(tmp_path.glob("*/*.bin")) - {first}
    os.utime(first, (1, 1))
    os.utime(second, (2, 2))
    kept(tmp_path)[1](WEIGHTS, x, shift=0)  # used: now the second is the older
    monkeypatch.setattr(programs, "_MOST_BYTES", first.stat().st_size * 5 // 2)
    call(WEIGHTS, x, shift=2)
    left = set(tmp_path.glob("*/*.bin"))
    assert len(left) == 2 and first in left and second not in left


def test_what_cannot_be_exported_runs_all_the_same(tmp_path, monkeypatch, caplog):
    def refuses(*_, **__):
        raise NotImplementedError("no such thing")

    monkeypatch.setattr(programs.export, "export", refuses)
    _, call = kept(tmp_path)
    np.testing.assert_array_equal(call(WEIGHTS, np.ones(2, np.float32), shift=0), [3.0, 3.0])
    assert "NotImplementedError: no such thing" in caplog.text and not list(tmp_path.glob("*/*.bin"))


def test_what_is_another_users_stays(tmp_path, monkeypatch):
    def theirs(path, **_):
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(programs, "_MOST_BYTES", 0)
    monkeypatch.setattr(programs.Path, "unlink", theirs)
    _, call = kept(tmp_path)
    np.testing.assert_array_equal(call(WEIGHTS, np.ones(2, np.float32), shift=0), [3.0, 3.0])
    assert len(list(tmp_path.glob("*/*.bin"))) == 1


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    _, params = tiny_params()
    store = CheckpointStore(folder / "checkpoints")
    store.save(5, state={"step": np.int32(5)}, ema_params=params, metadata={"config": config()})
    return folder


@pytest.fixture(scope="module")
def traced(run, tmp_path_factory):
    """(a folder of programs, the samples of the segmenter that traced one into it)"""
    folder = tmp_path_factory.mktemp("programs")
    return folder, Segmenter.load(run, programs=folder).sample(picture(1))


def test_a_segmenter_gives_the_same_bits_with_and_without_them(run, traced):
    folder, samples = traced
    plain = Segmenter.load(run).sample(picture(1))
    np.testing.assert_array_equal(samples, plain)
    np.testing.assert_array_equal(Segmenter.load(run, programs=folder).sample(picture(1)), plain)  # read
    assert len(list(folder.glob("*/*.bin"))) == 1


def test_programs_with_code_from_outside_are_not_kept(run, tmp_path, monkeypatch):
    """Their names would not change with that code."""
    monkeypatch.setattr(SAMPLERS, "_entries", dict(SAMPLERS.items()))
    SAMPLERS.register("one of this test")(lambda *arguments, **options: None)
    Segmenter.load(run, programs=tmp_path).sample(picture(1))
    assert list(tmp_path.glob("*/*.bin")) == []


def test_weights_are_checked_until_a_program_was_traced_with_them(traced, tmp_path):
    _, params = tiny_params()
    params["conv_in"]["bias"] = jnp.zeros(3)
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    store.save(5, state={"step": np.int32(5)}, ema_params=params, metadata={"config": config()})
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"conv_in\.bias"):
            Segmenter.load(tmp_path / "run", programs=traced[0])


@pytest.mark.slow
def test_another_process_reads_what_one_has_traced(run, environment, tmp_path):
    """With the compiled kernels where they are built: a program that is read back has to find them registered."""
    environment = environment | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "jax")}
    environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    program = (
        "import numpy as np\nfrom ddim_jax.inference import Segmenter\n"
        "from ddim_jax.inference import export_cache as programs\n"
        "traced = []\nexport = programs.export.export\n"
        "programs.export.export = lambda *a, **k: traced.append(1) or export(*a, **k)\n"
        f"segmenter = Segmenter.load({str(run)!r}, programs={str(tmp_path / 'kept')!r})\n"
        "image = np.arange(20 * 24 * 3, dtype=np.uint8).reshape(20, 24, 3)\n"
        "print(len(traced), segmenter.sample(image).tobytes().hex() and len(traced))\n"
        "import hashlib; print(hashlib.sha256(segmenter.sample(image).tobytes()).hexdigest())\n"
    )
    said, compiled = [], []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.split())
        compiled.append(sorted(path.name for path in (tmp_path / "jax").glob("*-cache")))
    assert [counts[1] for counts in said] == ["1", "0"]
    assert said[0][2] == said[1][2] and re.fullmatch("[0-9a-f]{64}", said[0][2])
    assert compiled[0] == compiled[1] and any(name.startswith("jit_call-") for name in compiled[0])

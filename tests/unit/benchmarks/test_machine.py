"""The entries of result files about the networks, the machine and the code."""

import subprocess

import jax
import pytest

from benchmarks import machine
from benchmarks.machine import Machine, provenance
from configs import folder
from ddim_jax.config import resolve_config
from ddim_jax.ops.cpu_kernels import library_path


def test_the_weights_of_a_network():
    """The numbers are those of docs/results/accuracy.json, counted from initial weights."""
    config = folder.get_config()
    assert Machine().parameters(resolve_config(config)) == 523_672
    config.model.name = "unet"
    assert Machine().parameters(resolve_config(config)) == 510_788
    config.data.labels = {"a": 1, "b": 2}
    assert Machine().parameters(resolve_config(config)) == 510_788 + 2 * 4 * (16 + 1)  # two masks more, in patches of 4


@pytest.mark.skipif("jax.default_backend() != 'cpu'")
def test_a_cpu_is_told_with_its_threads():
    about = Machine().about(3)
    assert about["device"].endswith(", 3 threads") and about["platform"] == "cpu"


def test_the_software():
    about = Machine().about(1)
    assert (about["jax"], about["compiled_cpu_kernels"]) == (jax.__version__, library_path() is not None)


@pytest.mark.parametrize(
    ("flags", "isa"), [("fma avx avx2", "avx2"), ("avx2 avx512f", "avx512"), ("sse4_2 avx", "other")]
)
def test_the_vectors_of_the_processor(monkeypatch, flags, isa):
    monkeypatch.setattr(machine, "_cpuinfo", lambda: [("model name", "A Processor"), ("flags", flags)])
    assert provenance()["isa"] == isa


def test_the_commit_of_the_code(tmp_path, monkeypatch):
    def git(*arguments):
        given = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(given, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert machine.commit() is None
    (tmp_path / "a").write_text("1")
    git("init", "--quiet")
    git("add", "a")
    git("commit", "--quiet", "--message=a")
    assert machine.commit() == git("rev-parse", "--short", "HEAD")
    # Results that were written just before are no change of the code.
    for name in ("docs/results/r.json", "benchmarks/results/r.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1")
        git("add", name)
    git("commit", "--quiet", "--message=b")
    (tmp_path / "docs/results/r.json").write_text("2")
    assert machine.commit() == git("rev-parse", "--short", "HEAD")
    (tmp_path / "a").write_text("2")
    assert machine.commit() == git("rev-parse", "--short", "HEAD") + "+"

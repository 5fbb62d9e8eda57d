"""Runs that lose sight of their folder, or may no longer write their numbers, and go on."""

import errno
import os
import shutil
from pathlib import Path

import jax
import pytest
from tiny_runs import assert_same_bits, checkpoint, metric_lines, tiny_config

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.runtime.errors import InputError
from ddim_jax.training import loop, train
from ddim_jax.training.logging import Reporter

on_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="bits are promised on CPUs")


@pytest.fixture
def run(reference, tmp_path):
    """A finished run of 12 steps, of the test's own."""
    return Path(shutil.copytree(reference, tmp_path / "run", symlinks=True))


@on_cpu
def test_lines_that_cannot_be_read_do_not_keep_a_run_from_going_on(reference, run, capfd):
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    odd = [
        b"\xff\xfe\n",
        b"[1]\n",
        b'{"step": "4"}\n',
        b'{"step": null}\n',
        b"null\n",
        b'{"loss": 1}\n',
        b"[" * 9999 + b"\n",
    ]
    damaged = b"".join([*lines[:2], *odd, *lines[2:], b'{"step": 1'])
    (run / "metrics.jsonl").write_bytes(damaged)
    shutil.rmtree(run / "checkpoints/12")
    assert train(tiny_config(steps=12), run) == 12
    assert metric_lines(run) == metric_lines(reference)
    assert (run / "metrics.jsonl.damaged").read_bytes() == damaged
    assert (
        "metrics.jsonl: 7 lines cannot be read and are left out, line 3, 4, 5, 6, 7 and others"
        in capfd.readouterr().err
    )


@on_cpu
@pytest.mark.parametrize("method", ["training", "validation"])
def test_numbers_that_the_disk_refuses_end_the_run_after_a_checkpoint(method, reference, tmp_path, monkeypatch):
    report = getattr(Reporter, method)

    def refused(self, step, values):
        if step >= 8 if method == "validation" else step >= 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "metrics.jsonl"))
        report(self, step, values)

    with monkeypatch.context() as patch:
        patch.setattr(Reporter, method, refused)
        with pytest.raises(OSError, match="No space left"):
            train(tiny_config(steps=12), tmp_path)
    assert CheckpointStore(tmp_path / "checkpoints").steps() == ([4, 7] if method == "training" else [4, 8])
    if method == "training":
        assert train(tiny_config(steps=12), tmp_path) == 12
        assert_same_bits(checkpoint(tmp_path, 12), checkpoint(reference, 12))


@on_cpu
def test_a_run_that_is_moved_while_it_trains_saves_nothing_in_the_old_place(reference, tmp_path, monkeypatch):
    report = loop.Reporter.training

    def moved(self, step, values):
        if step == 6:
            (tmp_path / "run").rename(tmp_path / "moved")
        report(self, step, values)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Reporter, "training", moved)
        with pytest.raises(InputError, match="run: the folder was moved, replaced or taken away while the run was at"):
            train(tiny_config(steps=12), tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]
    assert train(tiny_config(steps=12), tmp_path / "moved") == 12
    assert_same_bits(checkpoint(tmp_path / "moved", 12), checkpoint(reference, 12))
    assert metric_lines(tmp_path / "moved") == metric_lines(reference)

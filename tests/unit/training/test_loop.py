"""Whole runs: an interruption leaves no trace, and what goes wrong on the way stops them."""

import json
import shutil
import signal
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from tiny_runs import assert_same_bits, checkpoint, losses, metric_lines, tiny_config, unet_config

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.data import load_dataset
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.runtime.signals import StopRequest
from ddim_jax.training import loop, setup, train
from ddim_jax.training.nan_guard import NonFiniteLoss

on_cpu = pytest.mark.skipif(jax.default_backend() != "cpu", reason="bits are promised on CPUs")


def steps_in(workdir):
    return CheckpointStore(workdir / "checkpoints").steps()


def assert_same_run(workdir, reference):
    assert_same_bits(checkpoint(workdir, 12), checkpoint(reference, 12))
    assert metric_lines(workdir) == metric_lines(reference)


@pytest.mark.parametrize("run", ["plain", pytest.param("reference", marks=pytest.mark.slow)])
def test_a_run_learns_and_says_so(run, request):
    run = request.getfixturevalue(run)
    lines = metric_lines(run)
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 13))
    # Warm-up from 0 over two steps, then constant.
    rates = [line["learning_rate"] for line in lines if "loss" in line]
    np.testing.assert_allclose(rates, [0.0, 5e-4, *[1e-3] * 10], rtol=1e-6)
    assert [line["step"] for line in lines if "validation_loss" in line] == [4, 8, 12]
    state, ema_params = checkpoint(run, 12)
    assert int(state["step"]) == 12
    first, _ = checkpoint(run, 4)
    moved = [not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (first, state)), strict=True)]
    assert all(moved) and not np.array_equal(*(jax.tree.leaves(t)[0] for t in (ema_params, state["params"])))


@on_cpu
def test_half_a_run_and_the_other_half_are_a_run_to_the_bit(plain, tmp_path):
    assert train(unet_config(steps=6, checkpoint_every=5), tmp_path) == 6
    assert steps_in(tmp_path) == [5, 6]
    assert train(unet_config(steps=12, checkpoint_every=12), tmp_path) == 12
    assert_same_bits(checkpoint(tmp_path, 12), checkpoint(plain, 12))
    assert losses(tmp_path) == losses(plain)


@on_cpu
@pytest.mark.slow
def test_reading_as_it_goes_and_a_signal_change_nothing(reference, tmp_path, monkeypatch, capsys):
    """The images are read from the source (resident_bytes=0), Ctrl-C comes in step 6, between two checkpoints."""
    report = loop.Reporter.training

    def interrupted(self, step, values):
        if step == 6:
            signal.raise_signal(signal.SIGINT)
        report(self, step, values)

    streaming = tiny_config(steps=12, resident_bytes=0)
    with monkeypatch.context() as patch:
        patch.setattr(loop.Reporter, "training", interrupted)
        assert train(streaming, tmp_path) == 7  # the step after the one in which it came
    assert "SIGINT: saved step 7, stopped; the same command goes on from there" in capsys.readouterr().err
    assert steps_in(tmp_path) == [4, 7]
    assert train(streaming, tmp_path) == 12
    assert "resumes at step 7 of 12" in capsys.readouterr().err
    assert_same_run(tmp_path, reference)


def lines_but_the_first_validation(workdir):
    lines = metric_lines(workdir)
    return [line for line in lines if line["step"] != 4 or "loss" in line], [line["step"] for line in lines]


def assert_stopped_unscored_at_4(workdir, plain, capsys):
    assert "SIGTERM: saved step 4, stopped" in capsys.readouterr().err
    assert steps_in(workdir) == [4] and not (workdir / "checkpoints/4/metrics").exists()
    assert train(unet_config(steps=12), workdir) == 12
    assert_same_bits(checkpoint(workdir, 12), checkpoint(plain, 12))
    expected, steps = lines_but_the_first_validation(plain)
    assert metric_lines(workdir) == expected and steps.count(4) == 2
    assert CheckpointStore(workdir / "checkpoints").restore_params("best")[0] in (8, 12)


@on_cpu
def test_a_stop_where_a_validation_is_due_does_not_validate(plain, tmp_path, monkeypatch, capsys):
    report = loop.Reporter.training

    def interrupted(self, step, values):
        if step == 3:
            signal.raise_signal(signal.SIGTERM)
        report(self, step, values)

    request = StopRequest()
    with monkeypatch.context() as patch:
        patch.setattr(loop.Reporter, "training", interrupted)
        patch.setattr(loop.Validator, "__call__", lambda *_, **__: pytest.fail("it validated"))
        assert train(unet_config(steps=12), tmp_path, request) == 4
    assert (request.ended_by, request.exit_status) == ("SIGTERM", 75)
    assert_stopped_unscored_at_4(tmp_path, plain, capsys)


@on_cpu
def test_a_validation_is_given_up_for_a_stop(plain, tmp_path, monkeypatch, capsys):
    validate = loop.Validator.__call__

    def interrupted(self, params, **options):
        signal.raise_signal(signal.SIGTERM)
        return validate(self, params, **options)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Validator, "__call__", interrupted)
        assert train(unet_config(steps=12), tmp_path) == 4
    assert_stopped_unscored_at_4(tmp_path, plain, capsys)


@on_cpu
@pytest.mark.parametrize("place", ["validation", "save"])
def test_a_signal_at_the_very_end_changes_nothing(place, plain, tmp_path, monkeypatch):
    """The run goes on at step 8; a signal while a checkpoint is saved does not begin another step, but for the last."""
    shutil.copytree(plain, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoints/12")
    owner, name = (loop.Validator, "__call__") if place == "validation" else (CheckpointStore, "save")
    original = getattr(owner, name)

    def interrupted(*arguments, **options):
        signal.raise_signal(signal.SIGTERM)
        return original(*arguments, **options)

    request = StopRequest()
    monkeypatch.setattr(owner, name, interrupted)
    assert train(unet_config(steps=12), tmp_path, request) == 12
    assert (request.ended_by, request.exit_status) == (None, 0)
    assert_same_run(tmp_path, plain)
    assert (tmp_path / "checkpoints/12/metrics").exists()


@on_cpu
def test_a_signal_during_a_save_begins_no_other_step(tmp_path, monkeypatch):
    save = CheckpointStore.save

    def interrupted(*arguments, **options):
        signal.raise_signal(signal.SIGINT)
        return save(*arguments, **options)

    request = StopRequest()
    monkeypatch.setattr(CheckpointStore, "save", interrupted)
    assert train(unet_config(steps=12), tmp_path, request) == 4
    assert (request.ended_by, request.exit_status) == ("SIGINT", 130)
    assert (tmp_path / "checkpoints/4/metrics").exists()


@on_cpu
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(plain, tmp_path):
    shutil.copytree(plain, tmp_path, dirs_exist_ok=True)
    manifest = tmp_path / "checkpoints/12/manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"0", b"1", 1))
    assert train(unet_config(steps=12), tmp_path) == 12
    assert steps_in(tmp_path) == [4, 8, 12] and (tmp_path / "checkpoints/12.damaged").is_dir()
    assert_same_run(tmp_path, plain)


def test_the_end_names_the_best_step_and_what_comes_next(plain, tmp_path, capsys):
    assert train(unet_config(steps=12), tmp_path / "run") == 12
    told = capsys.readouterr().err.splitlines()[-1]
    best = max(
        (row["validation_dice"], row["step"])
        for row in map(json.loads, (tmp_path / "run/metrics.jsonl").read_text().splitlines())
        if "validation_dice" in row
    )
    assert told == (
        f"{tmp_path}/run is finished; the best in validation is step {best[1]}, with a Dice of {best[0]:.4f}. "
        f"Next: ddim-jax evaluate --ckpt {tmp_path}/run --split val"
    )


def test_the_end_of_a_run_of_several_annotators_names_the_latest_step():
    store = SimpleNamespace(best=lambda: None)
    run = SimpleNamespace(workdir="run", store=store, data=SimpleNamespace(train=SimpleNamespace(annotators=2)))
    assert loop._finished(run).endswith("evaluate --ckpt run --split val --checkpoint-step latest")


def test_a_finished_run_is_left_alone(plain, capsys):
    before = {path: path.stat().st_mtime_ns for path in plain.rglob("*")}
    assert train(unet_config(steps=12, log_every=5), plain) == 12
    told = f"{plain} holds a finished run of 12 steps; nothing to do."
    assert capsys.readouterr().out == f"{told} Other values of train.log_every change nothing any more.\n"
    config = unet_config(steps=12)
    assert train(config, plain) == 12
    assert capsys.readouterr().out == f"{told}\n"
    config["sample"]["samples"] = 3
    assert train(config, plain) == 12
    samples = "Other values of sample.samples change nothing any more; for other samples give evaluate and sample their"
    assert capsys.readouterr().out == f"{told} {samples} options.\n"
    assert {path: path.stat().st_mtime_ns for path in plain.rglob("*")} == before


def test_another_configuration_is_refused(plain):
    with pytest.raises(ConfigError, match=r"\(seed: 3 there, 4 now; train.learning_rate: 0.001 there, 0.5 now\)"):
        train(unet_config(steps=20, seed=4, learning_rate=0.5), plain)


def test_other_training_images_are_refused(plain, monkeypatch):
    def renamed(*arguments, **options):
        source = load_dataset(*arguments, **options)
        source.ids = (f"another {source.ids[0]}", *source.ids[1:])
        return source

    monkeypatch.setattr(setup, "load_dataset", renamed)
    with pytest.raises(ConfigError, match=r"trained on 12 images; there are 12 now, and the names of training"):
        train(unet_config(steps=20), plain)


def test_a_remark_on_the_data_is_said_at_the_start(tmp_path, monkeypatch, capsys):
    def remarked(*arguments, **options):
        source = load_dataset(*arguments, **options)
        source.note = "the split is not the official one"
        return source

    monkeypatch.setattr(setup, "load_dataset", remarked)
    train(unet_config(steps=3), tmp_path)
    assert capsys.readouterr().err.splitlines()[1] == "the split is not the official one"


def poisoned_from(step):
    """The real training step, which reports a loss that is no number from `step` on."""
    make = setup.make_train_step

    def make_poisoned(*arguments, **options):
        train_step = make(*arguments, **options)

        def run(state, batch):
            state, metrics = train_step(state, batch)
            bad = {"loss": jax.numpy.float32("nan")} if int(state.step) >= step else {}
            return state, {**metrics, **bad}

        return run

    return make_poisoned


def test_a_loss_that_is_no_number_stops_the_run(tmp_path, monkeypatch):
    """Step 8 is due for a checkpoint: what is bad must not be saved."""
    monkeypatch.setattr(setup, "make_train_step", poisoned_from(8))
    with pytest.raises(NonFiniteLoss, match="the loss of step 8 is nan; stopped, the last good checkpoint is step 4"):
        train(unet_config(steps=12), tmp_path)
    assert steps_in(tmp_path) == [4]
    assert int(checkpoint(tmp_path, 4)[0]["step"]) == 4
    assert max(losses(tmp_path)) == 7


def test_a_validation_that_is_no_number_is_not_saved(tmp_path, monkeypatch):
    class Broken(loop.Validator):
        def __call__(self, params, **options):
            return super().__call__(jax.tree.map(lambda leaf: leaf * np.inf, params), **options)

    monkeypatch.setattr(setup, "Validator", Broken)
    with pytest.raises(NonFiniteLoss, match="validation loss of step 4 is nan; stopped, there is no checkpoint yet"):
        train(unet_config(steps=12), tmp_path)
    assert steps_in(tmp_path) == []

"""Trainings with images without masks: stopped and gone on with, in several processes, and what is refused."""

import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from test_training_processes import start  # noqa: F401, a fixture
from tiny_runs import assert_same_bits, checkpoint, config_file, losses, unet_config

from ddim_jax.runtime.errors import TRY_AGAIN, ConfigError
from ddim_jax.training import mean_teacher, train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("unlabelled")
    for number in range(7):
        pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(pixels).resize((20, 20)).save(place / f"{number}.png")
    return place


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    train(unet_config(steps=5, checkpoint_every=10, unlabelled=str(folder)), workdir)
    return workdir


@pytest.fixture
def sure_teacher(monkeypatch):
    """A teacher that is sure of all and counts from the first step on: else a few steps learn nothing of it."""
    monkeypatch.setattr(mean_teacher, "CONFIDENCE", 0.5)
    monkeypatch.setattr(mean_teacher, "RAMP", 1)
    jax.clear_caches()  # of steps traced with the others
    yield
    jax.clear_caches()


@pytest.mark.usefixtures("sure_teacher")
def test_a_run_that_goes_on_ends_in_the_same_bits_wherever_its_pictures_lie_now(folder, tmp_path, capfd):
    whole, alone = tmp_path / "whole", tmp_path / "alone"
    train(unet_config(steps=5, checkpoint_every=10, unlabelled=str(folder)), whole)
    train(unet_config(steps=5, checkpoint_every=10, unlabelled=str(folder), unlabelled_weight=0.0), alone)
    assert all(losses(whole)[step] > 1.5 * losses(alone)[step] for step in range(2, 6))  # the ramp is 0 at the first
    moved = shutil.copytree(folder, tmp_path / "moved")
    for steps, place in ((3, folder), (5, moved)):
        train(unet_config(steps=steps, checkpoint_every=10, unlabelled=str(place)), tmp_path / "parts")
    assert_same_bits(checkpoint(tmp_path / "parts", 5), checkpoint(whole, 5))
    assert "7 unlabelled images beside them" in capfd.readouterr().err

    for unlabelled, message in (("", "was set there and is not now"), (str(moved), "images of data.unlabelled differ")):
        (moved / "6.png").unlink(missing_ok=True)
        with pytest.raises(ConfigError, match=message):
            train(unet_config(steps=6, checkpoint_every=10, unlabelled=unlabelled), tmp_path / "parts")
    shutil.copyfile(moved / "0.png", moved / "6.png")
    with pytest.raises(ConfigError, match=r"unlabelled/6\.png"):
        train(unet_config(steps=6, checkpoint_every=10, unlabelled=str(moved)), tmp_path / "parts")


def test_two_processes_train_as_one(folder, whole, start, tmp_path):  # noqa: F811
    fields = {"steps": 5, "checkpoint_every": 10, "unlabelled": str(folder)}
    both = start(tmp_path / "both", 2, config=fields)
    assert both.wait() == [0, 0], both.said
    found, expected = losses(tmp_path / "both"), losses(whole)
    np.testing.assert_allclose([*found.values()], [*expected.values()], rtol=1e-5)


def test_a_pre_training_that_is_stopped_leaves_nothing_and_the_next_command_takes_what_one_wrote(folder, tmp_path):
    config = unet_config(steps=2_000, log_every=1, unlabelled=str(folder))
    (tmp_path / "config.py").write_text(config_file(config))
    output = tmp_path / "made" / "pretrained.safetensors"
    output.parent.mkdir()

    def command(name, *arguments):
        options = ["--config", str(tmp_path / "config.py"), *arguments]
        return [sys.executable, "-m", "ddim_jax", name, *options]

    began = command("pretrain", "--output", str(output))
    with subprocess.Popen(began, stderr=subprocess.PIPE, text=True, cwd=ROOT) as stopped:
        lines = iter(stopped.stderr.readline, "")
        assert any("step 2/2000: loss" in line for line in lines)
        stopped.terminate()
        assert "stopped; nothing was written\n" in lines
        assert stopped.wait() == TRY_AGAIN
    assert not list(output.parent.iterdir())

    short = ("--config.train.steps=4", "--config.train.checkpoint_every=4")
    for arguments in (
        ("pretrain", *short, "--output", str(output)),
        ("train", *short, f"--config.train.init_from={output}", "--workdir", str(tmp_path / "run")),
    ):
        ran = subprocess.run(command(*arguments), capture_output=True, text=True, cwd=ROOT)
        assert ran.returncode == 0, ran.stderr
    assert f"starts from step 4 of {output}, pre-trained on 7 images without masks" in ran.stderr
    again = subprocess.run(command("pretrain", "--output", str(output)), capture_output=True, text=True, cwd=ROOT)
    assert again.returncode == 2 and "is there already and is not written over" in again.stderr

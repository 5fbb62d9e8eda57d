"""Trainings with pictures without masks: stopped and gone on with, in several processes, and what is refused."""

import shutil

import numpy as np
import pytest
from PIL import Image
from test_training_processes import start  # noqa: F401, a fixture
from tiny_runs import assert_same_bits, checkpoint, losses, unet_config

from ddim_jax.runtime.errors import ConfigError
from ddim_jax.training import train


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


def test_a_run_that_goes_on_ends_in_the_same_bits_wherever_its_pictures_lie_now(folder, whole, tmp_path, capfd):
    moved = shutil.copytree(folder, tmp_path / "moved")
    for steps, place in ((3, folder), (5, moved)):
        train(unet_config(steps=steps, checkpoint_every=10, unlabelled=str(place)), tmp_path / "parts")
    assert_same_bits(checkpoint(tmp_path / "parts", 5), checkpoint(whole, 5))
    assert "7 unlabelled pictures beside them" in capfd.readouterr().err

    for unlabelled in ("", str(moved)):
        (moved / "6.png").unlink(missing_ok=True)
        with pytest.raises(ConfigError, match=r"those of data\.unlabelled"):
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

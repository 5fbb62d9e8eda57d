"""One device and eight simulated ones."""

import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from revealed import drawn, pictures
from tiny_runs import assert_same_but_for_rounding, checkpoint, losses, metric_lines, without_dropout

from ddim_jax.runtime.errors import ConfigError
from ddim_jax.training import train
from ddim_jax.training.sharding import data_mesh, global_batch

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def eight(reference, tmp_path_factory, environment):
    """Goes on with the run of `reference` from step 4, on eight devices."""
    folder = tmp_path_factory.mktemp("eight")
    shutil.copytree(reference / "checkpoints/4", folder / "run/checkpoints/4")
    flags = {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": f"{HERE.parent}:{HERE.parents[1]}",
    }
    program = [sys.executable, str(HERE / "on_eight_devices.py"), str(folder)]
    done = subprocess.run(program, env=environment | flags, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "8 x cpu, resumes at step 4 of 12" in done.stderr
    return folder


def test_the_loss_curve_is_the_same(reference, eight):
    one, many = losses(reference), losses(eight / "run")
    assert list(many) == list(range(5, 13))
    np.testing.assert_allclose([many[step] for step in many], [one[step] for step in many], rtol=1e-5)
    scores = [metric_lines(run)[-1] for run in (reference, eight / "run")]
    assert scores[0]["step"] == scores[1]["step"] == 12
    assert scores[1]["validation_loss"] == pytest.approx(scores[0]["validation_loss"], rel=1e-5)


def test_the_weights_are_the_same(reference, eight):
    assert_same_but_for_rounding(checkpoint(eight / "run", 12), checkpoint(reference, 12))


def test_shares_accumulated_in_parts_are_the_whole_batch(eight, tmp_path):
    """Without dropout each of eight devices computes its own share, in two parts; here one device has one batch."""
    train(without_dropout(accumulate=1), tmp_path)
    one, many = losses(tmp_path), losses(eight / "shares")
    assert list(many) == list(range(1, 5))
    np.testing.assert_allclose([many[step] for step in many], [one[step] for step in many], rtol=1e-5)


def test_the_same_is_drawn(eight):
    one = drawn(*pictures(), devices=jax.devices()[:1], seed=5, step=7)
    many = np.load(eight / "drawn.npz")
    for name in ("noise", "t", "mask"):
        np.testing.assert_array_equal(one[name], many[name])
    # Interpolated pixels may be rounded otherwise where eight programs compute them.
    np.testing.assert_allclose(one["image"], many["image"], atol=1e-5)


def test_the_devices_send_each_other_one_sum(eight):
    """The sum of the loss and all gradients; one for each of the arrays would wait for the network as often."""
    assert (eight / "collectives").read_text().split() == ["all-reduce"]


def test_a_batch_that_does_not_divide_is_refused():
    three = jax.devices()[:1] * 3
    with pytest.raises(ConfigError, match=r"train.batch_size is 8; expected a positive multiple of 3"):
        data_mesh(8, three)
    with pytest.raises(ConfigError, match=r"train.batch_size is 0"):
        data_mesh(0)
    with pytest.raises(
        ConfigError, match=r"is 9; expected a multiple of 6, the number of devices \(3\) times .* \(2\)"
    ):
        data_mesh(9, three, accumulate=2)


def test_a_batch_on_a_mesh_is_the_batch():
    rows = np.arange(6, dtype=np.int32).reshape(3, 2)
    on_mesh = global_batch(data_mesh(3, jax.devices()[:1]), {"row": rows})
    np.testing.assert_array_equal(on_mesh["row"], rows)

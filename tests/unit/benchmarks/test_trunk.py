"""The packed trunk answers as the trunk does within its network."""

import jax
import numpy as np
import pytest

from benchmarks.quality.trunk import compared, main, pack_trunk
from ddim_jax import Segmenter
from ddim_jax.checkpoints.weights import open_weights
from ddim_jax.models import create_model
from ddim_jax.preprocessing import normalise
from ddim_jax.runtime.errors import InputError


def test_the_packed_trunk_gives_the_probability_of_the_trunk_s_logits(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    found = open_weights("lung_xray")
    about = found.metadata["config"]["model"]
    model = create_model(about["name"], preset=about["preset"], **about["overrides"])
    encoded = model.apply({"params": found.params}, normalise(image)[None], method="encode")
    pack_trunk("lung_xray", tmp_path / "trunk.safetensors")
    segmenter = Segmenter.from_pretrained(tmp_path / "trunk.safetensors")
    probability = segmenter.segment(image, samples=1, flips=False).probability
    np.testing.assert_allclose(probability, jax.nn.sigmoid(encoded.logits[0, ..., 0]), atol=1e-5)


def test_gains_by_hand():
    scores = {"trunk": {"a": 0.5, "b": 0.9}, "whole": {"a": 0.7, "b": 0.9}, "fused": {"a": 0.6, "b": 1.0}}
    row = compared(scores)
    assert row["n"] == 2 and row["dice"] == pytest.approx([0.7, 0.8, 0.8])
    assert row["whole_gain"] == pytest.approx(0.1) and row["whole_gain_ci"] == pytest.approx([0.0, 0.2])
    assert row["fused_gain"] == pytest.approx(0.0) and row["fused_gain_ci"] == pytest.approx([-0.1, 0.1])


def test_as_many_folders_as_checkpoints(capsys):
    with pytest.raises(SystemExit):
        main(["--ckpt", "lung_xray", "polyp", "--data", "DIR"])
    assert "--ckpt has 2, --data 1 and --elsewhere 0; expected one folder for each" in capsys.readouterr().err


def test_a_network_without_a_trunk_is_refused(tmp_path):
    pack_trunk("lung_xray", tmp_path / "trunk.safetensors")
    with pytest.raises(InputError, match="has the network unet; expected trunk_ddim"):
        pack_trunk(tmp_path / "trunk.safetensors", tmp_path / "again.safetensors")

"""Training that starts from weights in PyTorch's form."""

import jax
import numpy as np
import pytest
from tiny_runs import checkpoint, tiny_config

from ddim_jax.checkpoints.torch_weights import save_state_dict, to_torch
from ddim_jax.models import create_model, example_inputs
from ddim_jax.runtime.errors import CheckpointError
from ddim_jax.training import train

pytest.importorskip("safetensors", reason="needs safetensors: pip install 'ddim_jax[bench]'")


def random_weights(overrides):
    model = create_model("lightweight_ddim", preset="small", **overrides)
    shapes = jax.eval_shape(lambda key: model.init(key, *example_inputs(model, 16)), jax.random.key(0))["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape, scale=0.05).astype(np.float32), shapes)


def test_a_run_starts_from_the_weights_of_a_file(tmp_path):
    config = tiny_config(steps=1, learning_rate=1e-30, warmup_steps=0)  # the step changes no float32
    weights = random_weights(config["model"]["overrides"])
    config["train"]["init_from"] = str(tmp_path / "weights.safetensors")
    save_state_dict(config["train"]["init_from"], to_torch(weights))
    assert train(config, tmp_path / "run") == 1
    state, average = checkpoint(tmp_path / "run", 1)
    for got in (state["params"], average):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, weights)


def test_weights_of_another_network_are_refused_before_anything_is_written(tmp_path):
    config = tiny_config()
    weights = random_weights({**config["model"]["overrides"], "base_channels": 16})
    config["train"]["init_from"] = str(tmp_path / "weights.safetensors")
    save_state_dict(config["train"]["init_from"], to_torch(weights))
    with pytest.raises(CheckpointError, match=r"(?s)weights.safetensors.*conv_in.weight"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()

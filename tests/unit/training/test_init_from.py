"""Training that starts from weights in PyTorch's form."""

import json
from unittest import TestCase

import jax
import numpy as np
import pytest
from tiny_runs import checkpoint, tiny_config, unet_config

from ddim_jax import models
from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.checkpoints.torch_weights import save_state_dict, to_torch
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import CheckpointError
from ddim_jax.training import train
from ddim_jax.training.optimiser import create_optimiser
from ddim_jax.training.state import create_state, load_weights, start_from


def random_weights(overrides, name="lightweight_ddim"):
    shapes = models.param_shapes(models.create_model(name, preset="small", **overrides), 16)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape, scale=0.05).astype(np.float32), shapes)


def test_a_run_starts_from_the_weights_of_a_file(tmp_path, capsys):
    config = unet_config(steps=3, checkpoint_every=1)  # the first step is made at a rate of 0
    weights = random_weights(config["model"]["overrides"], "unet")
    config["train"]["init_from"] = str(tmp_path / "weights.safetensors")
    save_state_dict(config["train"]["init_from"], to_torch(weights))
    assert train(config, tmp_path / "run") == 3
    assert f"starts from the weights of {config['train']['init_from']}\n" in capsys.readouterr().err
    state, average = checkpoint(tmp_path / "run", 1)
    for got in (state["params"], average):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, weights)


def test_a_run_that_goes_on_is_not_said_to_have_begun_elsewhere(tmp_path):
    config = unet_config(steps=1, warmup_steps=0)
    train(config, tmp_path)
    config["train"] |= {"steps": 2, "init_from": "elsewhere.safetensors"}
    with TestCase().assertLogs("absl", "WARNING") as logged:
        assert train(config, tmp_path) == 2
    told = "train.init_from is 'elsewhere.safetensors' and does nothing: the run goes on from step 1"
    assert any(told in line for line in logged.output)
    kept = (
        CheckpointStore(tmp_path / "checkpoints").metadata(2)["config"],
        json.loads((tmp_path / "config.json").read_text()),
    )
    assert [config["train"]["init_from"] for config in kept] == [None, None]
    assert [config["train"]["steps"] for config in kept] == [2, 2]


def test_weights_of_another_network_are_refused_before_anything_is_written(tmp_path):
    config = tiny_config()
    weights = random_weights({**config["model"]["overrides"], "base_channels": 16})
    config["train"]["init_from"] = str(tmp_path / "weights.safetensors")
    save_state_dict(config["train"]["init_from"], to_torch(weights))
    with pytest.raises(CheckpointError, match=r"(?s)weights.safetensors.*conv_in.weight"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def saved_run(folder, weights, labels=None, scores=((4, 0.9),)):
    """A run with a checkpoint of `weights` at step 4, and of zeros at other steps; their Dice are `scores`."""
    config = tiny_config()
    config["data"]["labels"] = labels
    for step, dice in scores:
        own = weights if step == 4 else jax.tree.map(np.zeros_like, weights)
        CheckpointStore(folder / "checkpoints").save(
            step, state={"step": step}, ema_params=own, metadata={"config": config}, metrics={"dice": dice}
        )
    return folder


def network():
    return models.create_model("lightweight_ddim", preset="small", **tiny_config()["model"]["overrides"])


@pytest.fixture(scope="module")
def fresh():
    return create_state(network(), create_optimiser(lambda step: 1.0), 16, seed=1)


def test_a_run_starts_from_the_best_checkpoint_of_a_run_of_ones_own(fresh, tmp_path):
    weights = random_weights(tiny_config()["model"]["overrides"])
    saved_run(tmp_path / "before", weights, scores=((4, 0.9), (8, 0.1)))
    started = start_from(fresh, load_weights(tmp_path / "before", network(), 16))
    for got in (started.params, started.ema_params):
        jax.tree.map(np.testing.assert_array_equal, got, weights)
    latest = load_weights(tmp_path / "before/checkpoints/8", network(), 16)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(latest.params))
    assert latest.description == f"starts from step 8 of {tmp_path / 'before/checkpoints/8'}"


def test_another_number_of_classes_makes_the_layers_new_that_depend_on_it(fresh, tmp_path):
    weights = random_weights(tiny_config()["model"]["overrides"])
    wide = jax.tree.map(lambda leaf: leaf, weights)  # as three classes with a background have it
    wide["conv_out"] = {name: np.repeat(leaf, 4, axis=-1) for name, leaf in weights["conv_out"].items()}
    wide["conv_in"] = {**weights["conv_in"], "kernel": np.repeat(weights["conv_in"]["kernel"], 2, axis=2)}
    before = saved_run(tmp_path / "before", wide, {"lung": 1, "heart": 2, "rib": 3})
    initial = load_weights(before, network(), 16)
    assert initial.description.startswith(
        f"starts from step 4 of {before}; its mask has 4 channels in the network, this one 1"
    )
    assert initial.description.endswith("so these are new: conv_in.kernel, conv_out.bias, conv_out.kernel")
    started = start_from(fresh, initial)
    for params in (started.params, started.ema_params):
        np.testing.assert_array_equal(params["conv_out"]["kernel"], fresh.params["conv_out"]["kernel"])
        np.testing.assert_array_equal(params["conv_in"]["kernel"], fresh.params["conv_in"]["kernel"])
        np.testing.assert_array_equal(params["conv_in"]["bias"], weights["conv_in"]["bias"])
        same = [name for name in weights if name not in ("conv_in", "conv_out")]
        jax.tree.map(
            np.testing.assert_array_equal, *({name: tree[name] for name in same} for tree in (params, weights))
        )


@pytest.mark.parametrize(
    ("before", "now", "channels", "told"),
    [
        ({"lung": 1, "heart": 2}, {"heart": 1, "lung": 2}, 3, "lung, heart, those of this run heart, lung"),
        (
            {"a": 1, "b": 2},
            {"a": 1, "b": 2, "c": 3, "multilabel": True},
            3,
            "a, b, those of this run a, b, c (which overlap)",
        ),
        ({"lung": 1}, {"heart": 1}, 1, "lung, those of this run heart"),
        ({"lung": 1, "heart": 2}, {"lung": 5, "heart": 7}, 3, ""),
        (None, {"foreground": [1, 2]}, 1, ""),
    ],
)
def test_other_classes_make_the_last_layer_new_although_the_channels_agree(tmp_path, before, now, channels, told):
    multilabel = now.pop("multilabel", False)
    weights = random_weights({**tiny_config()["model"]["overrides"], "mask_channels": channels})
    saved_run(tmp_path / "before", weights, before)
    model = models.create_model(
        "lightweight_ddim", preset="small", mask_channels=channels, **tiny_config()["model"]["overrides"]
    )
    labels = Labels.create(now, multilabel=multilabel)
    assert labels.channels == channels
    initial = load_weights(tmp_path / "before", model, 16, labels)
    new = f"; its classes are {told}, so these are new: conv_out.bias, conv_out.kernel" if told else ""
    assert initial.description == f"starts from step 4 of {tmp_path / 'before'}{new}"
    assert set(weights) - set(initial.params) == ({"conv_out"} if told else set())
    for name, layer in initial.params.items():
        jax.tree.map(np.testing.assert_array_equal, layer, weights[name])


def test_a_run_of_another_network_is_refused(tmp_path):
    weights = random_weights({**tiny_config()["model"]["overrides"], "base_channels": 16})
    with pytest.raises(CheckpointError, match=r"before/checkpoints/4 belongs to another model.* conv_in.kernel: "):
        load_weights(saved_run(tmp_path / "before", weights), network(), 16)
    with pytest.raises(CheckpointError, match="holds no checkpoints"):
        load_weights(tmp_path, network(), 16)


def test_a_run_of_another_network_is_refused_although_its_mask_has_other_channels(tmp_path):
    overrides = tiny_config()["model"]["overrides"]
    wide = random_weights({**overrides, "base_channels": 16, "mask_channels": 4})
    with pytest.raises(CheckpointError, match=r"before/checkpoints/4 belongs to another model.* conv_in.bias: "):
        load_weights(saved_run(tmp_path / "before", wide, {"lung": 1, "heart": 2, "rib": 3}), network(), 16)


def test_what_is_no_checkpoint_and_what_is_of_another_network_is_told(tmp_path):
    with pytest.raises(CheckpointError, match=r"train.init_from is .*/nope: no such file or folder; expected"):
        load_weights(tmp_path / "nope", network(), 16)
    before = saved_run(tmp_path / "before", random_weights(tiny_config()["model"]["overrides"]))
    unet = models.create_model("unet", preset="small")
    with pytest.raises(CheckpointError, match=r"It is of model.name=lightweight_ddim, model.preset=small: train"):
        load_weights(before, unet, 32)

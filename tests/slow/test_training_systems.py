"""The baselines through the same training as the others: trained, stopped, resumed, loaded, scored."""

import json

import pytest
from tiny_runs import SIZE, assert_same_bits, checkpoint, metric_lines, tiny_config, unet_config

from ddim_jax.data import load_dataset
from ddim_jax.evaluation import evaluate
from ddim_jax.evaluation.figures import FIGURES
from ddim_jax.inference import Segmenter
from ddim_jax.training import train

OWN = {
    "unet": {},
    "trunk_ddim": {"channel_multipliers": [1, 2]},
    "medsegdiff": {"fusion_levels": [0], "frequency_bins": 2},
}


def config_of(name, **train_fields):
    config = (unet_config if name == "unet" else tiny_config)(checkpoint_every=2, warmup_steps=1, **train_fields)
    config["model"]["name"] = name
    config["model"]["overrides"] |= OWN[name]
    if name == "medsegdiff":
        config["diffusion"] |= {"prediction": "noise", "loss": "mse", "mask_scale": 1.0, "timestep_power": 1.0}
        config["diffusion"]["num_train_timesteps"] = 10
        config["sample"] |= {"sampler": "ddpm", "steps": 10, "clip_x0": 1.0}
    return config


@pytest.mark.parametrize("name", OWN)
def test_trained_in_two_halves_loaded_and_scored(name, tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert train(config_of(name, steps=4), whole) == 4
    assert train(config_of(name, steps=2), halves) == 2
    assert train(config_of(name, steps=4), halves) == 4
    assert_same_bits(checkpoint(halves, 4), checkpoint(whole, 4))
    assert metric_lines(halves)[-1] == metric_lines(whole)[-1]
    assert json.loads((whole / "config.json").read_text())["model"]["name"] == name

    segmenter = Segmenter.load(whole, step="latest")
    source = load_dataset("phantom", "val", image_size=SIZE, counts=config_of(name)["data"]["counts"])
    metrics = evaluate(segmenter, source, tmp_path / "scores", split="val", limit=3, figures=True)
    assert (metrics["sampler"], metrics["steps"], metrics["samples"]) == {
        "unet": (None, 1, 4),
        "trunk_ddim": ("ddim", 1, 2),
        "medsegdiff": ("ddpm", 10, 2),
    }[name]
    # A network that works in one pass has no reverse process to draw; every other figure is drawn.
    drawn = {path.stem for path in (tmp_path / "scores" / "figures").iterdir()}
    assert drawn == set(FIGURES) - ({"reverse_process"} if name == "unet" else set())

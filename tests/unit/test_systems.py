"""Sections `systems` of a config, which fill in what the chosen network decides; and networks without diffusion."""

import copy
import re

import pytest
from tiny_runs import changed, tiny_config, unet_config

from ddim_jax.config import check_config, resolve_config
from ddim_jax.registry import LOSSES, MODELS
from ddim_jax.runtime.errors import ConfigError


def test_a_system_fills_what_is_none():
    config = unet_config()
    config["train"]["learning_rate"] = config["sample"]["samples"] = config["sample"]["steps"] = None
    config["sample"]["flips"] = False
    config["model"]["overrides"] |= {"norm_groups": None, "stem_stride": 1}
    config["systems"] = {
        "unet": {
            "model": {"overrides": {"norm_groups": 2, "stem_stride": 4}},
            "train": {"learning_rate": 0.5, "validation_steps": 9},
            "sample": {"samples": 3, "flips": True},
        },
        "ddim": {"train": {"learning_rate": 0.1}},
    }
    before = copy.deepcopy(config)
    resolved = resolve_config(config)
    assert config == before
    assert "systems" not in resolved
    assert (resolved["train"]["learning_rate"], resolved["train"]["validation_steps"]) == (0.5, 1)
    assert resolved["sample"] | {"samples": 3, "flips": False} == resolved["sample"]  # False is a value
    assert resolved["sample"]["steps"] == 1  # as the network declares
    assert (resolved["model"]["overrides"]["norm_groups"], resolved["model"]["overrides"]["stem_stride"]) == (2, 1)
    del config["systems"]["unet"]
    assert resolve_config(config)["train"]["learning_rate"] == 1e-3  # as the network declares


def test_off_is_a_value_in_a_system():
    config = changed("systems", {})
    assert resolve_config(config)["sample"]["clip_x0"] == 1.0  # as the network declares
    config["systems"] = {"lightweight_ddim": {"sample": {"clip_x0": None}}}
    assert resolve_config(config)["sample"]["clip_x0"] is None
    assert resolve_config(tiny_config())["sample"]["clip_x0"] is None  # a resolved one is as it is


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        (5, "systems is 5; expected a section for each network"),
        ({"resnet": {}}, f"systems has 'resnet'; expected some of {', '.join(MODELS)}"),
        ({"unet": 5}, "systems.unet is 5; expected a section"),
        ({"unet": {"train": {"rate": 1}}}, "systems.unet has 'train.rate', which is no field that a network"),
        ({"unet": {"train": {"batch_size": 1}}}, "systems.unet has 'train.batch_size', which is no field"),
        ({"unet": {"model": {"overrides": {"remat": True}}}}, "systems.unet has 'model.overrides.remat'"),
    ],
)
def test_a_system_that_is_none_is_named(systems, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        resolve_config(changed("systems", systems))


def test_without_diffusion_there_is_one_pass_and_no_sampler():
    config = unet_config()
    check_config(config)
    for field in ("sample.steps", "train.validation_steps"):
        with pytest.raises(ConfigError, match=f"{field} is 2; expected 1, since unet works in one pass"):
            check_config(changed(field, 2, config))
    for field, value in (("sample.sampler", "ddim"), ("diffusion.prediction", "x0")):
        with pytest.raises(ConfigError, match=f"{field} is '{value}'; expected none, since unet works in one pass"):
            check_config(changed(field, value, config))
    check_config(changed("diffusion.loss", "bce_dice", config))
    with pytest.raises(ConfigError, match=f"diffusion.loss is 'mse'; expected one of {', '.join(LOSSES)}"):
        check_config(changed("diffusion.loss", "mse", config))

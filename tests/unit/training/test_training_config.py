import json

import numpy as np
import pytest
from ml_collections import ConfigDict, config_dict
from tiny_runs import tiny_config

from ddim_jax.runtime.errors import ConfigError
from ddim_jax.training.config import check_config, plain_config, resolve_system, total_steps


def test_a_config_becomes_what_json_gives_back():
    config = ConfigDict({"seed": 1, "model": {"levels": (1, 2), "preset": config_dict.placeholder(str)}})
    config.rate = config_dict.FieldReference(0.5)
    plain = plain_config(config)
    assert plain == {"seed": 1, "model": {"levels": [1, 2], "preset": None}, "rate": 0.5}
    assert type(plain["model"]) is dict and json.loads(json.dumps(plain)) == plain
    mapping = {"a": {"b": (1,)}}
    assert plain_config(mapping) == {"a": {"b": [1]}} and mapping == {"a": {"b": (1,)}}


def test_a_config_that_works_passes():
    config = tiny_config()
    check_config(config)
    config["train"].update(steps=0, epochs=0.5, ema_decay=0.0)
    config["data"].update(rotation_degrees=0.0)
    config["sample"].update(clip_x0=1.0, eta=1.0, steps=50, protocol="paper")
    config["sample"]["sampler"] = "dpm++"
    config["seed"] = 2**32 - 1
    check_config(config)


def test_mirrored_samples_of_a_network_that_never_saw_a_mirrored_picture_are_refused():
    config = tiny_config()
    config["sample"]["flips"] = True
    check_config(config)
    config["data"]["flips"] = False
    with pytest.raises(ConfigError, match=r"sample\.flips is True and data\.flips is False.*or sample\.flips=False"):
        check_config(config)
    config["sample"]["flips"] = False
    check_config(config)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("data.image_size", 0, "expected a whole number from 1"),
        ("data.image_size", 64.0, "expected a whole number from 1"),
        ("train.batch_size", True, "expected a whole number from 1"),
        ("train.checkpoint_every", 0, "expected a whole number from 1"),
        ("train.keep_latest", 0, "expected a whole number from 1"),
        ("train.log_every", -1, "expected a whole number from 1"),
        ("train.validation_images", 0, "expected a whole number from 1"),
        ("train.validation_steps", "2", "expected a whole number from 1"),
        ("train.validation_steps", 51, "expected at most diffusion.num_train_timesteps, 50"),
        ("train.steps", -5, "expected a whole number"),
        ("train.steps", 2.5, "expected a whole number"),
        ("train.epochs", float("inf"), "expected a number"),
        ("train.epochs", -1.0, "expected a number"),
        ("train.epochs", 3.0, "expected one of them above 0"),
        ("train.steps", 0, "expected one of them above 0"),
        ("train.ema_decay", 1.0, "expected a number from 0 to below 1"),
        ("train.ema_decay", float("nan"), "expected a number from 0 to below 1"),
        ("data.rotation_degrees", -1.0, "expected degrees from 0 to 180"),
        ("data.image_size", 10**6, "expected at most 16384"),
        ("data.resident_bytes", -1, "expected a whole number from 0"),
        ("train.warmup_steps", 0.5, "expected a whole number from 0"),
        ("seed", True, "expected a whole number from 0"),
        ("data.split_seed", -1, "expected a whole number from 0"),
        ("sample.steps", 0, "expected a whole number from 1"),
        ("sample.steps", 51, "expected at most diffusion.num_train_timesteps, 50"),
        ("sample.samples", None, "expected a whole number from 1"),
        ("sample.sampler", "dpm", r"expected ddim or ddpm or dpm\+\+"),
        ("sample.sampler", None, r"expected ddim or ddpm or dpm\+\+"),
        ("sample.ensemble", "median", "expected one of majority, mean, staple"),
        ("sample.protocol", "mine", "expected one of .*mean"),
        ("sample.eta", 1.5, "expected a number from 0 to 1"),
        ("sample.clip_x0", 0.0, "expected null .* or a positive bound"),
        ("seed", -1, "expected a whole number from 0"),
        ("seed", 2**32, "expected a whole number from 0"),
    ],
)
def test_a_value_that_cannot_work_is_named(field, value, expected):
    config = tiny_config()
    *sections, name = field.split(".")
    place = config[sections[0]] if sections else config
    place[name] = value
    with pytest.raises(ConfigError, match=f"{field} is {value!r}.*{expected}"):
        check_config(config)


def test_the_length_of_a_run():
    assert total_steps(7, 0.0, 20, 371) == 7
    assert total_steps(0, 2000.0, 20, 371) == 37100
    assert total_steps(0, 1.0, 8, 12) == 2  # 1.5, rounded to even
    assert total_steps(0, 0.1, 8, 12) == 1


def test_a_system_fills_what_is_none():
    config = {
        "model": {"name": "unet", "overrides": {"width": None, "depth": 3}},
        "train": {"rate": None, "steps": 7},
        "sample": {"steps": None, "samples": 0, "flips": False, "clip": None},
        "unet": {
            "model": {"overrides": {"width": 8, "depth": 4, "tall": True}},
            "train": {"rate": 0.5, "steps": 9},
            "sample": {"steps": 1, "samples": 4, "flips": True},
        },
        "ddim": {"train": {"rate": 0.1}, "sample": {"clip": 1.0}},
    }
    before = json.loads(json.dumps(config))
    assert resolve_system(config) == {
        "model": {"name": "unet", "overrides": {"width": 8, "depth": 3, "tall": True}},
        "train": {"rate": 0.5, "steps": 7},
        "sample": {"steps": 1, "samples": 0, "flips": False, "clip": None},  # 0 and False are values
    }
    assert config == before
    for name in ("ddim", "lightweight_ddim"):  # which share a section
        config["model"]["name"] = name
        assert resolve_system(config)["train"] == {"rate": 0.1, "steps": 7}
    config["model"]["name"] = "unheard of"  # the model's to refuse
    assert resolve_system(config)["train"] == {"rate": None, "steps": 7}
    assert resolve_system(tiny_config()) == tiny_config()


def test_without_diffusion_there_is_one_pass_and_no_sampler():
    config = tiny_config()
    config["model"]["name"] = "unet"
    config["diffusion"] = dict.fromkeys(config["diffusion"])
    config["sample"]["sampler"] = None
    check_config(config)
    for section, field in (("sample", "steps"), ("train", "validation_steps")):
        wrong = config | {section: config[section] | {field: 2}}
        with pytest.raises(ConfigError, match=f"{section}.{field} is 2; expected 1, since unet works in one pass"):
            check_config(wrong)
    config["sample"]["sampler"] = "ddim"
    with pytest.raises(ConfigError, match=r"sample.sampler is 'ddim'; expected None"):
        check_config(config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([1], "the configuration is list; expected fields and sections"),
        ({"model": {"name": {1, 2}}}, r"model.name is \{1, 2\}, which cannot be written as JSON"),
        ({"seed": 1, "sample": {"clip_x0": float("inf")}}, r"sample\.clip_x0 is inf, which cannot be written as JSON"),
        ({"train": {"learning_rate": np.float32(0.5)}}, r"train.learning_rate is .*0\.5.*, which cannot be written"),
    ],
)
def test_what_is_no_config_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        plain_config(config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "model.name is missing or no text; expected one of "),
        ({"model": "unet"}, "model.name is missing or no text"),
        ({"model": {"name": ["unet"]}}, "model.name is missing or no text"),
        ({"model": {"name": "unet"}, "unet": 5}, "unet is 5; expected a section"),
        ({"model": {"name": "unet"}, "unet": {"train": {"rate": 1}}, "train": 3}, "train is 3; expected a section"),
    ],
)
def test_sections_that_are_none_are_named(config, message):
    with pytest.raises(ConfigError, match=message):
        resolve_system(config)

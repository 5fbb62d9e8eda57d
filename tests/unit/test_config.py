"""The schema of a config: what is made of it and what is refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict, config_dict
from tiny_runs import ABSENT, changed, tiny_config, unet_config

from ddim_jax.config import check_config, create_config, resolve_config, saved_config, total_steps, without_paths
from ddim_jax.data import Augmentation
from ddim_jax.data.augmentation import AUGMENTATIONS
from ddim_jax.fields import plain_config
from ddim_jax.registry import ENSEMBLES, LOSSES, MODELS, SAMPLERS
from ddim_jax.runtime.errors import CheckpointError, ConfigError, InputError

NETWORKS, SAMPLER_NAMES, ENSEMBLE_NAMES, LOSS_NAMES = (
    re.escape(f"expected one of {', '.join(names)}") for names in (MODELS, SAMPLERS, ENSEMBLES, ("mse", *LOSSES))
)


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
    assert resolve_config(config) == config
    config["train"].update(steps=0, epochs=0.5, ema_decay=0.0)
    config["data"].update(rotation_degrees=0.0)
    config["sample"].update(clip_x0=1.0, eta=1.0, steps=50, protocol="paper")
    config["sample"]["sampler"] = "dpm++"
    config["seed"] = 2**32 - 1
    check_config(config)
    check_config(unet_config())


def test_a_name_of_an_augmentation_stands_for_its_ranges_and_set_ones_hold():
    config = create_config()
    config.data.augmentation = "strong"
    config.data.augment.zoom = 0.2
    config.data.augment.noise = 0.0
    data = resolve_config(config)["data"]
    strong = AUGMENTATIONS["strong"]
    assert data["rotation_degrees"] == strong["rotation_degrees"] == 20
    assert data["augment"] == strong["augment"] | {"zoom": 0.2, "noise": 0.0}
    assert Augmentation.from_config(data) == Augmentation(20.0, True, **data["augment"])
    assert resolve_config(create_config())["data"]["augment"] == dict.fromkeys(strong["augment"], 0.0)
    config.data.augmentation, config.data.rotation_degrees = "paper", 180.0
    data = resolve_config(config)["data"]
    assert (data["rotation_degrees"], data["augment"]["zoom"], data["augment"]["shift"]) == (180, 0.2, 0)


@pytest.mark.parametrize(
    ("name", "folds", "fold", "told"),
    [
        ("folder", 2, 0, r"data\.folds is 2 and data\.fold 0; expected at least 3 folds"),
        ("folder", 3, 9, r"data\.folds is 3 and data\.fold 9; expected at least 3 folds"),
        ("phantom", 3, 0, r"data\.folds is 3 and data\.name is phantom, which decides its split itself; expected .*=0"),
    ],
)
def test_folds_that_cannot_be_held_out_are_refused(name, folds, fold, told):
    config = tiny_config()
    config["data"] |= {"name": "folder", "folds": 3, "fold": 2}
    check_config(config)
    config["data"] |= {"name": name, "folds": folds, "fold": fold}
    with pytest.raises(ConfigError, match=told):
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
        ("data.image_size", 0, "expected a whole number from 1 to 16384"),
        ("data.image_size", 64.0, "expected a whole number from 1"),
        ("data.image_size", 10**6, "expected a whole number from 1 to 16384"),
        ("data.image_size", 2**30, "expected a whole number from 1 to 16384"),
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
        ("train.learning_rate", None, "expected a number above 0"),
        ("train.learning_rate", 0.0, "expected a number above 0"),
        ("train.lr_schedule", "linear", "expected one of constant, cosine"),
        ("train.beta1", True, "expected a number from 0 to below 1"),
        ("train.beta2", 1.0, "expected a number from 0 to below 1"),
        ("train.gradient_clip", -1.0, "expected a number from 0"),
        ("train.init_from", ["a.pt"], "expected a text or none"),
        ("train.warmup_steps", 0.5, "expected a whole number from 0"),
        ("train.warmup_steps", 12, "expected 0 to below the 12 steps of the run"),
        ("data", [], "expected a section"),
        ("data.name", "polyps", "expected one of .*phantom"),
        ("data.root", 7, "expected a text or none"),
        (
            "data.labels",
            "{a:1,b:2}",
            r'expected names with whole numbers or lists of them, as \{"lung": \[1, 2\], "heart"',
        ),
        ("data.flips", "no", "expected true or false"),
        ("data.window", [40.0], "expected 2 values, each a number, or none$"),
        ("data.window", [40.0, 0.0], "expected a centre and a width above 0$"),
        ("data.rotation_degrees", -1.0, "expected a number from 0 to 180"),
        ("data.rotation_degrees", "15", "expected a number from 0 to 180"),
        ("data.augmentation", "weak", "expected one of paper, strong"),
        ("data.augmentation", None, "expected one of paper, strong"),
        ("data.augment", 3, "expected a section"),
        ("data.augment.zoom", 1.5, "expected a number from 0 to 1"),
        ("data.augment.shift", -0.1, "expected a number from 0 to 0.5"),
        ("data.augment.noise", float("nan"), "expected a number from 0 to 1"),
        ("data.resident_bytes", -1, "expected a whole number from 0"),
        ("data.split_seed", -1, "expected a whole number from 0"),
        ("data.counts", 12, "expected a section"),
        ("data.counts.val", 0, "expected a whole number from 1 to 10000000"),
        ("seed", True, "expected a whole number from 0"),
        ("seed", -1, "expected a whole number from 0"),
        ("seed", 2**32, "expected a whole number from 0"),
        ("plugins", "numpy", "expected 0 to 64 values, each a text"),
        ("model", 5, "expected a section"),
        ("model.name", None, NETWORKS),
        ("model.name", ["unet"], NETWORKS),
        ("model.name", "unet3d", NETWORKS),
        ("model.preset", 3, "expected a text or none"),
        ("model.preset", "tiny", "expected small or none"),
        ("model.overrides", None, "expected a section"),
        ("diffusion", 5, "expected a section"),
        ("diffusion.loss", ["mse"], LOSS_NAMES),
        ("diffusion.mask_scale", 0, "expected a number above 0 to 1"),
        ("diffusion.num_train_timesteps", 2**30, "expected a whole number from 1 to 100000"),
        ("train", 5, "expected a section"),
        ("sample.steps", 0, "expected a whole number from 1"),
        ("sample.steps", 51, "expected at most diffusion.num_train_timesteps, 50"),
        ("sample.samples", None, "expected a whole number from 1"),
        ("sample.sampler", "dpm", SAMPLER_NAMES),
        ("sample.sampler", None, SAMPLER_NAMES),
        ("sample.sampler", 1, SAMPLER_NAMES),
        ("sample.ensemble", "median", ENSEMBLE_NAMES),
        ("sample.protocol", "mine", "expected one of .*mean"),
        ("sample.protocol", ["paper"], "expected one of .*mean"),
        ("sample.eta", None, "expected a number from 0 to 1"),
        ("sample.eta", 1.5, "expected a number from 0 to 1"),
        ("sample.clip_x0", 0.0, "expected a number above 0 or none"),
        ("sample.clip_x0", "1", "expected a number above 0 or none"),
    ],
)
def test_a_value_that_cannot_work_is_named(field, value, expected):
    config = changed(field, value)
    with pytest.raises(ConfigError, match=f"{field} is {re.escape(repr(value))}.*{expected}"):
        check_config(config)
    with pytest.raises(CheckpointError, match=f"^a/metadata: .*{field} is {re.escape(repr(value))}.*{expected}"):
        saved_config(Path("a/metadata"), {"config": config})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.crop", 20000, "data.crop is 20000; expected a whole number from 0 to 16384"),
        ("train.learning_rate", float("nan"), "train.learning_rate is nan; expected a number above 0"),
        ("train.gradient_clip", float("inf"), "train.gradient_clip is inf; expected a number from 0"),
    ],
)
def test_a_value_is_refused_by_its_own_field_before_what_follows_from_it(field, value, message):
    """The size was said to be wrong that the crop had given, and of NaN that JSON has none."""
    config = changed(field, value)
    with pytest.raises(ConfigError, match=re.escape(message)):
        resolve_config(config)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "model.overrides.base_channels",
            "8",
            "model.overrides.base_channels is '8'; expected a multiple of 8 from 8 to 4096",
        ),
        (
            "model.overrides.base_channels",
            2**30,
            "model.overrides.base_channels is 1073741824; expected a multiple of 8",
        ),
        ("model.overrides.name", "unet", "model has no field 'name'"),
        ("model.overrides.preset", "small", "model has no field 'preset'"),
        ("model.overrides.channel_multipliers", [1, 1, 1, 1, 1, 1], "data.image_size is 16; expected a multiple of 32"),
        ("diffusion.prediction", "noise", "diffusion.loss 'bce_dice' compares masks"),
        ("train.stepz", 3, "the configuration has no field train.stepz"),
        ("lr", 3, "the configuration has no field lr"),
        ("model.preset", ABSENT, "the configuration has no model.preset"),
        ("data.root", ABSENT, "the configuration has no data.root"),
        ("train.steps", ABSENT, "the configuration has no train.steps"),
        ("sample.clip_x0", ABSENT, "the configuration has no sample.clip_x0"),
        ("sample.eta", ABSENT, "the configuration has no sample.eta"),
        ("diffusion.num_train_timesteps", ABSENT, "the configuration has no diffusion.num_train_timesteps"),
        ("seed", ABSENT, "the configuration has no seed"),
        ("diffusion", ABSENT, "the configuration has no diffusion"),
    ],
)
def test_fields_that_do_not_fit_together_are_unknown_or_missing_are_named(field, value, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_config(changed(field, value))


def test_concepts_of_what_is_no_class_are_refused_before_a_training_and_load_with_a_checkpoint():
    config = changed("data.labels", {"lung": 1, "heart": 2})
    config["data"]["segments"] = ["lung=Lung", "lungs=Lung"]
    with pytest.raises(ConfigError, match=r"data\.segments has 'lungs=Lung'; expected .* among lung, heart"):
        resolve_config(config)
    assert saved_config(Path("a/metadata"), {"config": config}) == config
    config["data"]["segments"] = ["lung=Lung"]
    assert resolve_config(config)["data"]["segments"] == ["lung=Lung"]


def test_a_warm_up_is_shorter_than_the_schedule():
    config = changed("train.schedule_steps", 5)
    config["train"]["warmup_steps"] = 5
    message = "train.warmup_steps is 5; expected 0 to below the 5 steps of train.schedule_steps"
    with pytest.raises(ConfigError, match=message):
        check_config(config)
    config["train"] |= {"steps": 0, "epochs": 1.0}
    with pytest.raises(ConfigError, match=message):
        check_config(config)
    config["train"]["warmup_steps"] = 4
    check_config(config)
    config["train"] |= {"steps": 3, "epochs": 0.0}  # a run that stops within its warm-up
    check_config(config)


def test_remote_weights_are_refused():
    with pytest.raises(InputError, match=r"train\.init_from is gs://a/b.pt"):
        check_config(changed("train.init_from", "gs://a/b.pt"))


def test_the_length_of_a_run():
    assert total_steps(7, 0.0, 20, 371) == 7
    assert total_steps(0, 2000.0, 20, 371) == 37100
    assert total_steps(0, 1.0, 8, 12) == 2  # 1.5, rounded to even
    assert total_steps(0, 0.1, 8, 12) == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([1], "the configuration is list; expected fields and sections"),
        ({}, "model is None; expected a section"),
        ({"model": "unet"}, "model is 'unet'; expected a section"),
        ({"model": {"name": {1, 2}}}, r"model.name is \{1, 2\}, which cannot be written as JSON"),
        ({"train": {"learning_rate": np.float32(0.5)}}, r"train.learning_rate is .*0\.5.*, which cannot be written"),
        (changed("train", 3, changed("systems", {})), "train is 3; expected a section"),
    ],
)
def test_what_is_no_config_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        resolve_config(config)


def test_a_config_for_other_machines_names_no_path_of_this_one():
    config = resolve_config(tiny_config())
    config["data"] |= {"root": "/home/ann/films", "cache_dir": "/home/ann/cache", "unlabelled": "/home/ann/more"}
    config["train"]["init_from"] = "/home/ann/run"
    assert "/home/ann" not in json.dumps(without_paths(config))
    assert without_paths(config)["model"] == config["model"] and config["data"]["root"] == "/home/ann/films"


@pytest.mark.parametrize(
    ("field", "value"), [("unlabelled", "/home/ann/more"), ("empty_windows", 0.5), ("erased", 0.5)]
)
def test_crops_do_not_go_with_what_takes_whole_pictures(field, value):
    config = changed(f"data.{field}", value)
    check_config(config)
    config["data"]["crop"] = 16
    with pytest.raises(ConfigError, match=rf"data\.crop is 16 and data\.{field} is {value!r}; expected data\.crop=0"):
        check_config(config)

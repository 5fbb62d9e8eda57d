"""The config of a run that is there: what may be another when it goes on, and what is refused in its metadata."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import ABSENT, changed, tiny_config

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.checkpoints.manifest import write_manifest
from ddim_jax.config import differences, saved_config
from ddim_jax.inference import Segmenter
from ddim_jax.runtime.errors import CheckpointError


def test_a_saved_config_of_weights_that_are_older_than_a_field_has_its_default():
    config = tiny_config()
    added = {
        "data": ("annotators", "empty_windows", "erased", "transforms", "unlabelled"),
        "train": ("adversarial_epsilon", "adversarial_share", "unlabelled_weight"),
    }
    for section, names in added.items():
        for name in names:
            del config[section][name]
    assert saved_config(Path("metadata"), {"config": config, "data": None}) == tiny_config()


def test_a_field_that_packaged_weights_have_and_that_is_no_more_is_left_out():
    older = changed("data.allow_damaged", False)
    assert saved_config(Path("metadata"), {"config": older, "data": None}) == tiny_config()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "renamed"),
        ("plugins", ["moved"]),
        ("data.root", "/elsewhere"),
        ("data.cache_dir", "/elsewhere"),
        ("data.resident_bytes", 0),
        ("model.overrides.remat", True),
        ("model.overrides.attention_levels", None),
        ("model.overrides.channel_shuffle", False),
        ("model.overrides.blocks_per_level", 1),
        ("model.overrides.dtype", "float32"),
        ("sample.steps", 7),
        ("sample.samples", 7),
        ("sample.sampler", "ddpm"),
        ("sample.ensemble", "staple"),
        ("sample.protocol", "paper"),
        ("sample.eta", 0.5),
        ("sample.flips", True),
        ("train.accumulate", 2),
        ("train.checkpoint_every", 1),
        ("train.keep_latest", 9),
        ("train.log_every", 9),
        ("train.init_from", "weights.safetensors"),
        ("train.steps", 1000),
        ("train.epochs", 3.0),
    ],
)
def test_what_does_not_change_the_steps_may_differ(field, value):
    assert differences(tiny_config(), changed(field, value)) == {}


@pytest.mark.parametrize(
    ("field", "value", "before"),
    [
        ("seed", 4, 3),
        ("model.preset", None, "small"),
        ("model.overrides.channel_multipliers", [1, 2], [1]),
        ("model.overrides.channel_shuffle", True, False),
        ("model.overrides.blocks_per_level", 2, 1),
        ("diffusion.loss", "mse", "bce_dice"),
        ("diffusion.noise_schedule", "cosine", "linear"),
        ("data.image_size", 32, 16),
        ("data.flips", False, True),
        ("data.augment.zoom", 0.1, 0.0),
        ("data.counts.train", 13, 12),
        ("train.batch_size", 4, 8),
        ("train.learning_rate", 0.5, 0.001),
        ("train.validation_steps", 2, 1),
        ("sample.clip_x0", 1.0, None),
        ("train.ema_decay", 0.5, 0.9),
    ],
)
def test_what_changes_the_steps_is_named_with_both_values(field, value, before):
    assert differences(tiny_config(), changed(field, value)) == {field: (before, value)}


def test_every_difference_is_named():
    now = changed("train.beta1", 0.5, changed("seed", 4))
    assert differences(tiny_config(), now) == {"seed": (3, 4), "train.beta1": (0.9, 0.5)}
    assert differences(tiny_config(), changed("model.overrides.channel_multipliers", (1,))) == {}


def test_the_length_matters_where_the_learning_rate_follows_it():
    cosine = tiny_config(lr_schedule="cosine")
    assert differences(cosine, copy.deepcopy(cosine)) == {}
    assert differences(cosine, changed("train.steps", 24, cosine)) == {"train.steps": (12, 24)}


def test_a_run_of_0_1_0_is_refused_in_one_line():
    old = changed("plugins", ABSENT)
    del old["train"]["lr_schedule"]
    with pytest.raises(CheckpointError, match=r"^a/metadata: .* is of a run of ddim_jax 0\.1\.0; use that version, or"):
        saved_config(Path("a/metadata"), {"config": old})


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "config is None; expected a section. Was it made by train.py?"),
        ({"config": [1]}, "config is [1]; expected a section"),
        ({"config": tiny_config(), "data": [1]}, "data is [1]; expected a section"),
        ({"config": changed("plugins", ["nowhere_to_be_found"])}, "plugins names 'nowhere_to_be_found'"),
    ],
)
def test_metadata_that_are_no_runs_are_named(metadata, message):
    with pytest.raises(CheckpointError, match=rf"^a/metadata: {re.escape(message)}"):
        saved_config(Path("a/metadata"), metadata)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([1, 2], "holds list; expected an object with config and data"),
        ({"config": changed("sample.eta", ABSENT)}, "the configuration has no sample.eta"),
    ],
)
def test_loading_such_a_checkpoint_names_its_file(tmp_path, metadata, message):
    CheckpointStore(tmp_path).save(
        5, state={"step": 5}, ema_params={"a": np.zeros(3)}, metadata={"config": tiny_config()}
    )
    file = tmp_path / "5" / "metadata" / "metadata"
    file.write_text(json.dumps(metadata))
    write_manifest(tmp_path / "5")
    with pytest.raises(CheckpointError, match=re.escape(f"{file}: {message}")):
        Segmenter.load(tmp_path)

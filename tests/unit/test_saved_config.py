"""The config of a run that is there: what may be another when it goes on, and what is refused in its metadata."""

import copy
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import ABSENT, changed, tiny_config, unet_config

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.checkpoints.manifest import write_manifest
from ddim_jax.config import differences, resolve_config, saved_config
from ddim_jax.inference import Segmenter
from ddim_jax.runtime.errors import CheckpointError, InputError
from ddim_jax.sampling_options import SamplingOptions
from ddim_jax.training.optimiser import configured_optimiser


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
        ({}, "config is None; expected a section. Was it made by `ddim-jax train`?"),
        ({"config": [1]}, "config is [1]; expected a section"),
        ({"config": tiny_config(), "data": [1]}, "data is [1]; expected a section"),
        ({"config": changed("plugins", ["nowhere_to_be_found"])}, "plugins names 'nowhere_to_be_found'"),
    ],
)
def test_metadata_that_are_no_runs_are_named(metadata, message):
    with pytest.raises(CheckpointError, match=rf"^a/metadata: {re.escape(message)}"):
        saved_config(Path("a/metadata"), metadata)


@pytest.mark.parametrize("field", ["model.name", "data.name", "sample.ensemble"])
def test_a_name_that_is_not_known_may_be_that_of_a_plugin(field):
    told = rf"{field} is 'own'; expected one of .*; if it is of a plug-in: --plugins MODULE$"
    with pytest.raises(CheckpointError, match=told):
        saved_config(Path("a/metadata"), {"config": changed(field, "own")})


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


WRONG = (
    None,
    True,
    -1,
    0.5,
    2**63,
    10**400,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\ud800",
    [],
    [0, -1],
    ["a"],
    {},
    {"a": 1},
)


def leaves(section, prefix=""):
    for name, value in section.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")


@pytest.mark.parametrize("config", [tiny_config(), unet_config()], ids=["diffusion", "one pass"])
def test_any_value_of_any_field_is_taken_or_refused_with_the_name_of_the_file(config):
    taken = 0
    for field, value in itertools.product(leaves(config), (*WRONG, ABSENT)):
        given = changed(field, value, config)
        try:
            SamplingOptions.create(saved_config(Path("a/metadata"), {"config": given}))
            configured_optimiser(resolve_config(given)["train"], 10**9)
            taken += 1
        except CheckpointError as error:
            assert str(error).startswith("a/metadata: "), (field, value)
        except InputError as error:
            assert field.rpartition(".")[2] in str(error) or field.partition(".")[0] in str(error), (field, value)
    assert 50 < taken < 200

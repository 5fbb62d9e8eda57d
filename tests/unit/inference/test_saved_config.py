"""A checkpoint whose metadata lack something, or have something of another kind: the file and the field are named."""

import copy
import json
import re

import pytest
from segmenters import config, tiny_params

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.checkpoints.manifest import write_manifest
from ddim_jax.inference import Segmenter
from ddim_jax.inference.saved_config import read_config
from ddim_jax.models import create_model
from ddim_jax.runtime.errors import CheckpointError

ABSENT = object()


def changed(field, value):
    about = copy.deepcopy(config())
    *sections, name = field.split(".")
    place = about
    for section in sections:
        place = place[section]
    if value is ABSENT:
        del place[name]
    else:
        place[name] = value
    return about


def refusal(folder, metadata):
    with pytest.raises(CheckpointError) as error:
        read_config(folder, metadata)
    return str(error.value).removeprefix(f"{folder / 'metadata/metadata'}: ")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("sample.eta", ABSENT, "its config has no sample.eta; expected a number"),
        ("sample.clip_x0", ABSENT, "its config has no sample.clip_x0; expected a number"),
        ("sample.samples", ABSENT, "its config has no sample.samples; expected a whole number from 1"),
        ("data.image_size", ABSENT, "its config has no data.image_size; expected a whole number from 1"),
        ("data.name", ABSENT, "its config has no data.name; expected a text"),
        ("diffusion.num_train_timesteps", ABSENT, "its config has no diffusion.num_train_timesteps; expected a whole"),
        ("model", {}, "its config has no model.name; expected a text"),
        ("sample.eta", None, "sample.eta is None; expected a number"),
        ("sample.clip_x0", "1", "sample.clip_x0 is '1'; expected a number or none"),
        ("sample.steps", 0, "sample.steps is 0; expected a whole number from 1"),
        ("sample.protocol", ["paper"], "sample.protocol is ['paper']; expected a text"),
        ("data.image_size", "16", "data.image_size is '16'; expected a whole number from 1"),
        ("data.image_size", 15, "data.image_size is 15; expected a multiple of 2"),
        ("model.name", ["unet"], "model.name is ['unet']; expected a text"),
        ("model.name", "unet3d", "model.name is 'unet3d'; expected one of"),
        ("model.preset", [], "model.preset is []; expected a text or none"),
        ("model.overrides", [8], "model.overrides is [8]; expected a section or none"),
        ("model.overrides.name", "unet", "model.overrides has name; expected it as model.name"),
        ("model.overrides.base_channels", "8", "model.base_channels is '8'; expected a whole number from 1"),
        ("diffusion.loss", ["mse"], "diffusion.loss is ['mse']; expected a text or a number"),
        ("diffusion.mask_scale", 0, "diffusion.mask_scale is 0; expected a number in (0, 1]"),
        ("diffusion", None, "its config has no section diffusion; was it made by train.py?"),
    ],
)
def test_a_field_that_cannot_be_used_is_named_with_its_file(tmp_path, field, value, message):
    assert refusal(tmp_path, {"config": changed(field, value)}).startswith(message)


def test_metadata_that_are_no_runs_are_named(tmp_path):
    assert refusal(tmp_path, {}).startswith("its config has no section model, diffusion, data, sample")
    assert refusal(tmp_path, {"config": [1]}).startswith("its config has no section model, diffusion, data, sample")
    assert refusal(tmp_path, {"config": config(), "data": [1]}).startswith("data is [1]; expected a section")


def test_what_earlier_runs_do_not_have_may_be_missing(tmp_path):
    about = changed("model.overrides", ABSENT)
    del about["model"]["preset"], about["diffusion"]["mask_scale"], about["diffusion"]["loss"]
    about["data"]["image_size"] = 64
    assert read_config(tmp_path, {"config": about, "data": None}) == (about, create_model("lightweight_ddim"))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([1, 2], "holds list; expected an object with config and data"),
        ({"config": changed("sample.eta", ABSENT)}, "its config has no sample.eta; expected a number"),
    ],
)
def test_loading_such_a_checkpoint_names_its_file(tmp_path, metadata, message):
    CheckpointStore(tmp_path).save(5, state={"step": 5}, ema_params=tiny_params()[1], metadata={"config": config()})
    file = tmp_path / "5" / "metadata" / "metadata"
    file.write_text(json.dumps(metadata))
    write_manifest(tmp_path / "5")
    with pytest.raises(CheckpointError, match=re.escape(f"{file}: {message}")):
        Segmenter.load(tmp_path)

"""What a checkpoint says of itself, where another program or a hand has written it."""

import json
from pathlib import Path

import pytest

from ddim_jax.checkpoints.described import described
from ddim_jax.checkpoints.items import read_metadata
from ddim_jax.io.errors import CheckpointError, ConfigError
from ddim_jax.training.resume import check_resumable

FOLDER = Path("/runs/mine/checkpoints/5")


def metadata(field=None, value=None):
    """Those of a checkpoint, of which one field is another."""
    config = {
        "model": {"name": "ddim", "preset": None, "overrides": {"dropout": 0.1}},
        "data": {"image_size": 64},
        "sample": {"eta": 0.0, "clip_x0": None, "sampler": "ddim"},
        "levels": [1, {"a": 2}],
    }
    found = {"config": config, "package_version": "0.1.0", "data": {"train_examples": 3}}
    if field is not None:
        *sections, name = field.split(".")
        place = found
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return found


def test_what_is_as_it_should_be_is_handed_on():
    found = described(FOLDER, metadata())
    assert found == metadata() and json.dumps(found) == json.dumps(metadata())
    assert described(FOLDER, {}) == {}  # earlier versions wrote less
    assert found["config"].get("train", 7) == 7 and dict(**found["config"]["model"]["overrides"]) == {"dropout": 0.1}


@pytest.mark.parametrize("field", ["train", "config.diffusion", "config.data.counts", "data.val_ids_sha256"])
def test_a_field_that_is_not_there_is_named_when_it_is_asked_for(field):
    place = described(FOLDER, metadata())
    *sections, name = field.split(".")
    for section in sections:
        place = place[section]
    with pytest.raises(CheckpointError, match=f"^{FOLDER}: its metadata have no '{name}'; was it made by train.py"):
        place[name]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("config", None, "is None; expected a section"),
        ("data", [1], r"is \[1\]; expected a section"),
        ("config.train", "x", "is 'x'; expected a section or null"),
        ("config.model.name", ["ddim"], r"is \['ddim'\]; expected a text"),
        ("config.model.preset", 3, "is 3; expected a text or null"),
        ("config.model.overrides", None, "is None; expected a section"),
        ("config.data.image_size", True, "is True; expected a whole number from 1 to 16384"),
        ("config.data.image_size", 2**14 + 1, "is 16385; expected a whole number from 1 to 16384"),
        ("config.sample.eta", float("nan"), "is nan; expected a number from 0 to 1"),
        ("config.sample.clip_x0", 0, "is 0; expected a number above 0 or null"),
        ("config.sample.protocol", {}, "is {}; expected a text"),
        ("config.model.name", "x" * 1000, ""),
    ],
)
def test_a_field_of_another_kind_is_named(field, value, expected):
    if not expected:  # a text, whatever it says
        assert described(FOLDER, metadata(field, value)) == metadata(field, value)
        return
    with pytest.raises(CheckpointError, match=f"^{FOLDER}: in its metadata {field} {expected}$"):
        described(FOLDER, metadata(field, value))


def test_what_would_be_given_twice_to_the_model_is_named():
    with pytest.raises(CheckpointError, match=r"config\.model\.overrides has preset"):
        described(FOLDER, metadata("config.model.overrides.preset", "small"))


@pytest.mark.parametrize("content", ["[1]", "null", '"config"', "7"])
def test_metadata_that_are_no_section(tmp_path, content):
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata/metadata").write_text(content)
    with pytest.raises(CheckpointError, match=f"^{tmp_path}: its metadata are no section but "):
        read_metadata(tmp_path)


def test_a_run_does_not_go_on_with_sections_that_are_none():
    saved = described(FOLDER, metadata("config.model", None))["config"]
    with pytest.raises(ConfigError, match=r"model\.name: .absent. there, .ddim. now"):
        check_resumable(saved, metadata()["config"], "/runs/mine")

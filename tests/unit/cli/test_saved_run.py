"""The config.json of a run as the config of another."""

import importlib
import json
import re

import pytest

from ddim_jax.cli import configs
from ddim_jax.cli.saved_run import get_config
from ddim_jax.config import resolve_config
from ddim_jax.runtime.errors import InputError


@pytest.fixture
def saved(tmp_path):
    """A function that gives what was saved of a config of this package after changes, and the file."""

    def saved(name, **changes):
        config = importlib.import_module(f"configs.{name}").get_config()
        config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
        resolved, file = resolve_config(config), tmp_path / "config.json"
        file.write_text(json.dumps(resolved))
        return resolved, str(file)

    return saved


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("folder", {"data__counts": {"train": 3, "val": 1, "test": 1}, "data__window": (40.0, 400.0)}),
        ("folder", {"data__augment__zoom": 0.5, "data__rotation_degrees": 0.0}),
        ("table1", {"model__name": "unet"}),
        ("rsua", {"sample__clip_x0": None}),
    ],
)
def test_it_says_what_the_run_was(saved, name, changes):
    before, file = saved(name, **changes)
    assert resolve_config(get_config(file)) == before


def test_fields_keep_their_types_and_another_augmentation_its_ranges(saved):
    _, file = saved("folder", data__augment__zoom=0.5)
    config = get_config(file)
    config.data.augmentation = "paper"
    config.model.overrides.base_channels = 8
    assert resolve_config(config)["data"]["augment"] == dict.fromkeys(config.data.augment, 0.0) | {"zoom": 0.5}
    with pytest.raises(TypeError):
        config.model.overrides.base_channels = "eight"
    with pytest.raises(AttributeError):
        config.train.stpes = 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"train": ',
            r"--config: .*cut\.json: Expecting value: line 1 .*; expected the config\.json of a run, or a ",
        ),
        (b"\xff{}", r"--config: .*cut\.json: .*decode byte 0xff"),
        (b"[]", r".*cut\.json: config is \[\]; expected a section"),
        (b'{"plugins": []}', r".*cut\.json: model is None; expected a section"),
    ],
)
def test_a_file_that_holds_no_config_is_told_before_anything_else(tmp_path, content, message):
    (tmp_path / "cut.json").write_bytes(content)
    with pytest.raises(InputError) as error:
        configs.config_file(str(tmp_path / "cut.json"))
    assert re.match(message, str(error.value))

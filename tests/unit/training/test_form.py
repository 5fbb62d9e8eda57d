"""Which sections and fields a configuration has to have, and of what kind."""

import pytest
from tiny_runs import tiny_config

from configs import base
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.training.config import plain_config, resolve_system
from ddim_jax.training.form import check_form


@pytest.mark.parametrize("name", ["lightweight_ddim", "unet", "medsegdiff"])
def test_the_base_config_has_the_form(name):
    config = base.get_config()
    config.model.name = name
    check_form(resolve_system(plain_config(config)))
    check_form(tiny_config())


@pytest.mark.parametrize("field", ["model", "model.preset", "data.root", "train.steps", "sample.clip_x0", "seed"])
def test_a_missing_field_is_named(field):
    config = tiny_config()
    *sections, name = field.split(".")
    del (config[sections[0]] if sections else config)[name]
    with pytest.raises(ConfigError, match=f"the configuration has no {field}"):
        check_form(config)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("train", 5, "a section"),
        ("data", [], "a section"),
        ("model.overrides", None, "a section"),
        ("model.preset", 3, "a text or none"),
        ("model.name", None, "one of ddim, lightweight_ddim, medsegdiff, unet"),
        ("model.name", ["unet"], "one of ddim, lightweight_ddim, medsegdiff, unet"),
        ("data.root", 7, "a text or none"),
        ("data.flips", "no", "true or false"),
        ("data.rotation_degrees", "15", "a number"),
        ("data.counts", 12, "a number for each split"),
        ("train.learning_rate", None, "a number"),
        ("train.beta1", True, "a number"),
        ("train.init_from", ["a.pt"], "a text or none"),
        ("sample.sampler", 1, "a text or none"),
        ("sample.clip_x0", "1", "a number or none"),
    ],
)
def test_a_value_of_another_kind_is_named(field, value, expected):
    config = tiny_config()
    *sections, name = field.split(".")
    (config[sections[0]] if sections else config)[name] = value
    with pytest.raises(ConfigError) as raised:
        check_form(config)
    assert str(raised.value) == f"{field} is {value!r}; expected {expected}"


@pytest.mark.parametrize("name", ["name", "preset"])
def test_overrides_are_not_the_place_for_the_name(name):
    config = tiny_config()
    config["model"]["overrides"][name] = "small"
    with pytest.raises(ConfigError, match=f"model.overrides has {name}; expected it as model.{name}"):
        check_form(config)


def test_an_unknown_model_is_told_before_what_it_leaves_unset():
    config = base.get_config()
    config.model.name = "lightweight"
    with pytest.raises(ConfigError, match=r"model\.name is 'lightweight'; expected one of ddim, lightweight_ddim"):
        check_form(resolve_system(plain_config(config)))

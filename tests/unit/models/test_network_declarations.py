"""A network of another package: its declaration, its fields, and what is refused."""

import dataclasses
from collections import Counter

import flax.linen as nn
import numpy as np
import pytest

from ddim_jax.config import override_fields
from ddim_jax.diffusion import DiffusionProcess, DirectProcess, Encoded
from ddim_jax.fields import Field, fields_of
from ddim_jax.models import ModelSpec, Network, create_model, create_process, example_inputs, model_spec
from ddim_jax.models.levels import FIELDS, check_memory
from ddim_jax.models.spec import DENOISER_DEFAULTS
from ddim_jax.registry import MODELS
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.schema import SCHEMA


class Threshold(nn.Module):
    """A network of somebody else, without any of the fields of this package's."""

    width: int = 4
    steepness: float = 2.0
    stages: tuple[float, ...] = (0.5, 1.0)
    bias: bool = True

    size_multiple = 1

    @nn.compact
    def __call__(self, image, *, train=False):
        return self.steepness * nn.Dense(1, use_bias=self.bias)(nn.tanh(nn.Dense(self.width)(image)))


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS.items()))
    return MODELS.register


class Encodes(nn.Module):
    """A denoiser with a method `encode` of its own."""

    size_multiple = 1

    def __call__(self, noisy_mask, image, t, *, train=False):
        return noisy_mask + (image.logits if isinstance(image, Encoded) else image[..., :1])

    def encode(self, image, *, train=False):
        return Encoded((), image[..., 1:2])


@pytest.mark.parametrize("declared", [False, True])
def test_a_method_encode_is_called_where_it_is_declared(registered, declared):
    registered("encodes")(ModelSpec(Encodes, encodes=declared))
    network, image = Network(create_model("encodes")), np.float32([[[[1, 2, 3]]]])
    given = network.encode({}, image)
    assert isinstance(given, Encoded) is declared
    assert network({}, np.zeros((1, 1, 1, 1)), given, np.zeros(1)).item() == (2 if declared else 1)


def test_a_network_of_another_package_declares_itself(registered):
    registered("threshold")(ModelSpec(Threshold, process=DirectProcess, presets={"wide": {"width": 9}}))
    model = create_model("threshold", preset="wide", stages=[1, 2.5], base_channels=None)
    assert model == Threshold(width=9, stages=(1, 2.5))
    assert [leaf.shape for leaf in example_inputs(model, 8)] == [(1, 8, 8, 3)]
    assert create_process(model, {}) == DirectProcess()
    for name, value, message in (
        ("width", 1.5, "model.overrides.width is 1.5; expected a whole number"),
        ("stages", [1, "2"], r"model.overrides.stages is \(1, '2'\); expected 0 to 64 values, each a number"),
        ("bias", 1, "model.overrides.bias is 1; expected true or false"),
        ("base_channels", 8, "model has no field 'base_channels'; it has width, steepness, stages, bias"),
    ):
        with pytest.raises(ConfigError, match=message):
            create_model("threshold", **{name: value})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fixed": {"witdh": 3}}, r"'witdh' in fixed; expected some of width, steepness, stages, bias$"),
        ({"presets": {"small": {"witdh": 3}}}, r"'witdh' in presets\['small'\]; expected some of width, steepness, "),
        ({"fixed": {"width": 3}, "presets": {"small": {"width": 3}}}, r"'width' in .*; expected some of steepness, "),
        ({"defaults": {"train": {"rate": 0.1}}}, r"'train.rate' in defaults; expected some of diffusion."),
        ({"defaults": {"trian": {"learning_rate": 0.1}}}, r"'trian.learning_rate' in defaults; expected some of "),
        ({"defaults": {"train": {"batch_size": 8}}}, r"'train.batch_size' in defaults; expected .*sample.steps, "),
    ],
)
def test_a_declaration_with_a_field_that_there_is_not_is_refused(given, message):
    with pytest.raises(ConfigError, match=f"^the ModelSpec of Threshold has {message}"):
        ModelSpec(Threshold, process=DirectProcess, **given)


def test_the_defaults_of_a_network_are_the_fields_that_it_decides():
    named = {f"{part}.{name}" for part, values in DENOISER_DEFAULTS.items() for name in values}
    assert named == {name for name, field in fields_of(SCHEMA) if field.of_model}


def test_a_network_says_what_its_fields_are(registered):
    registered("bounded")(
        ModelSpec(Threshold, process=DirectProcess, ranges={"width": Field(int, help="pixels around", low=1, high=8)})
    )
    assert create_model("bounded", width=8).width == 8
    with pytest.raises(ConfigError, match=r"model\.overrides\.width is 9; expected a whole number from 1 to 8"):
        create_model("bounded", width=9)
    assert override_fields()["width"].help == "pixels around"


def test_a_field_of_one_network_stands_in_its_file():
    networks = {model_spec(name).module for name in MODELS}
    shared = Counter(field.name for network in networks for field in dataclasses.fields(network))
    assert [name for name in FIELDS if shared[name] < 2] == []


def test_fields_are_derived_from_their_annotations_and_else_from_their_defaults(registered):
    """Some annotations are texts, for which `from __future__ import annotations` stands."""

    class Annotated(nn.Module):
        depth: "int"
        rate: float = 0
        share: "float" = 0
        mode: "str | None" = "plain"
        hook: "object" = None

        size_multiple = 1

    registered("annotated")(ModelSpec(Annotated, process=DirectProcess))
    fields = model_spec("annotated").fields
    kinds = {"rate": float, "share": float, "depth": int, "mode": str}
    assert {name: field.type for name, field in fields.items()} == kinds
    assert fields["depth"].default is None and fields["rate"].default == 0
    model = create_model("annotated", rate=0.1, share=0.5, depth=2)
    assert (model.rate, model.share, model.depth) == (0.1, 0.5, 2)
    with pytest.raises(ConfigError, match=r"model.overrides.depth is 2.5; expected a whole number"):
        create_model("annotated", depth=2.5)


def test_a_class_alone_is_a_denoiser_with_the_papers_setting(registered):
    registered("bare")(Encodes)
    spec = model_spec("bare")
    assert (spec.module, spec.process, spec.defaults["sample"]["steps"]) == (Encodes, DiffusionProcess, 50)
    with pytest.raises(TypeError, match="Dense has no size_multiple"):
        ModelSpec(nn.Dense).create(overrides={"features": 2})
    with pytest.raises(ValueError, match=r"registers a model 'unet', and so did .*plain_unet"):
        registered("unet")(ModelSpec(Threshold, process=DirectProcess))


def test_a_network_without_a_field_for_the_channels_takes_one_class(registered):
    registered("one_channel")(ModelSpec(Threshold, process=DirectProcess))
    assert create_model("one_channel", mask_channels=1) == create_model("one_channel")
    with pytest.raises(ConfigError, match=r"data\.labels needs 3 channels.*Threshold has one; give it a field mask_ch"):
        create_model("one_channel", mask_channels=3)


def test_a_network_with_attention_of_its_own_kind_is_asked_for_nothing_more():
    class Attentive(Threshold):
        attention_levels: tuple[int, ...] = (0,)  # and no channel_multipliers

    check_memory(Attentive(), 64)

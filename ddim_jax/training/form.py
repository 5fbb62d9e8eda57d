"""The form of a configuration: its sections and fields, and what kind of value stands in each."""

from collections.abc import Mapping
from typing import Any

from ddim_jax.registry import MODELS
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.runtime.values import is_number

_KINDS = {
    "a text": lambda value: isinstance(value, str),
    "true or false": lambda value: isinstance(value, bool),
    "a number": is_number,
    "a section": lambda value: isinstance(value, Mapping) and all(isinstance(name, str) for name in value),
}
_FIELDS = {
    "a section": ("model", "model.overrides", "diffusion", "data", "train", "sample"),
    "a text": (
        *("model.name", "data.name", "train.lr_schedule", "sample.protocol", "sample.ensemble"),
        *("model.preset?", "data.root?", "data.cache_dir?", "train.init_from?", "sample.sampler?"),
    ),
    "true or false": ("data.flips", "sample.flips"),
    "a number": (
        *("data.rotation_degrees", "train.epochs", "train.learning_rate", "train.beta1", "train.beta2"),
        *("train.gradient_clip", "train.ema_decay", "sample.eta", "sample.clip_x0?"),
    ),
}
"""Fields by their kind; a question mark is behind those that may be None. The fields of model.overrides, diffusion and
data.counts are checked by what is built of them."""
WHOLE = (
    *("seed", "data.image_size", "data.split_seed", "data.resident_bytes", "train.batch_size", "train.accumulate"),
    *("train.steps", "train.warmup_steps", "train.log_every", "train.checkpoint_every", "train.keep_latest"),
    *("train.validation_images", "train.validation_steps", "sample.steps", "sample.samples"),
)
"""Whole numbers; `check_config` knows the range of each."""


def check_form(config: Any) -> None:
    """Checks that a resolved config (`resolve_system`) has every field, with a value of its kind.

    Raises:
      ConfigError: a field is missing or of another kind; it is named, with what was found and what was expected.
    """
    name = _at(config, "model.name")
    if not isinstance(name, str) or name not in MODELS:  # what is missing for an unknown one says nothing
        raise ConfigError(f"model.name is {name!r}; expected one of {', '.join(MODELS)}")
    for kind, fields in _FIELDS.items():
        for field in fields:
            name = field.removesuffix("?")
            value = _at(config, name)
            if not (_KINDS[kind](value) or (value is None and name != field)):
                raise ConfigError(f"{name} is {value!r}; expected {kind}{' or none' if name != field else ''}")
    for name in WHOLE:
        _at(config, name)
    if not isinstance(config["data"].get("counts"), Mapping | None):
        raise ConfigError(f"data.counts is {config['data']['counts']!r}; expected a number for each split")
    reserved = sorted({"name", "preset"} & set(config["model"]["overrides"]))
    if reserved:
        raise ConfigError(f"model.overrides has {reserved[0]}; expected it as model.{reserved[0]}")


def _at(config: Any, name: str) -> Any:
    value = config
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise ConfigError(f"the configuration has no {name}; configs/base.py has every field")
        value = value[part]
    return value

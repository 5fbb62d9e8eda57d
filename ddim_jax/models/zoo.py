"""The models by name."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from ddim_jax.io.errors import ConfigError
from ddim_jax.models.unet import DenoisingUNet

MODELS = {
    "lightweight_ddim": (DenoisingUNet, {"light": True}),
    "ddim": (DenoisingUNet, {"light": False}),
}

PRESETS = {
    "small": {
        "base_channels": 24,
        "channel_multipliers": (1, 2, 3, 4),
        "blocks_per_level": 1,
        "attention_levels": (),
        "norm_groups": 8,
        "patch_size": 2,
    },
}
"""Sizes other than the defaults. `small` is for CPUs: the demo, the tests, pictures of 64 to 128 pixels."""

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def create_model(name: str, *, preset: str | None = None, **overrides: Any) -> nn.Module:
    """Builds a model; `model.apply({"params": p}, noisy_mask, image, t)` calls it.

    Args:
      name: "lightweight_ddim" (22,882,945 parameters) or "ddim" (113,672,065).
      preset: None for the paper's size, or "small".
      **overrides: fields of the model's class, over the preset; None keeps what the preset or the class says. `dtype`
        is "float32" or "bfloat16".

    Raises:
      ConfigError: an unknown name, preset or field, or a value the field cannot take.
    """
    if name not in MODELS:
        raise ConfigError(f"model.name is {name!r}; expected one of {', '.join(MODELS)}")
    if preset is not None and preset not in PRESETS:
        raise ConfigError(
            f"model.preset is {preset!r}; expected {', '.join(PRESETS)}, or none given for the paper's size"
        )
    cls, fixed = MODELS[name]
    known = {field.name for field in dataclasses.fields(cls)} - {"parent", "name", *fixed}
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise ConfigError(f"model has no field {', '.join(map(repr, unknown))}; it has {', '.join(sorted(known))}")
    overrides = {key: value for key, value in overrides.items() if value is not None}
    fields = {**(PRESETS[preset] if preset else {}), **overrides}
    # Configs carry lists (JSON) and strings; modules want hashable tuples and dtypes.
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    if isinstance(fields.get("dtype"), str):
        if fields["dtype"] not in DTYPES:
            raise ConfigError(f"model.dtype is {fields['dtype']!r}; expected one of {', '.join(DTYPES)}")
        fields["dtype"] = DTYPES[fields["dtype"]]
    _check(cls, fields)
    return cls(**fixed, **fields)


def _check(cls, fields: dict[str, Any]) -> None:
    """Refuses sizes with which the network cannot be built, naming the field."""
    values = {field.name: field.default for field in dataclasses.fields(cls)} | fields
    for field in ("base_channels", "blocks_per_level", "norm_groups", "patch_size"):
        if not isinstance(values[field], int) or values[field] < 1:
            raise ConfigError(f"model.{field} is {values[field]!r}; expected a whole number from 1")
    if values["base_channels"] % 8:
        raise ConfigError(f"model.base_channels is {values['base_channels']}; expected a multiple of 8")
    levels = values["channel_multipliers"]
    if not levels or any(not isinstance(m, int) or m < 1 for m in levels):
        raise ConfigError(f"model.channel_multipliers is {levels!r}; expected one whole number from 1 for each level")
    outside = [level for level in values["attention_levels"] if not 0 <= level < len(levels)]
    if outside:
        raise ConfigError(f"model.attention_levels names {outside}; the levels are 0 to {len(levels) - 1}")
    if not 0.0 <= values["dropout"] < 1.0:
        raise ConfigError(f"model.dropout is {values['dropout']}; expected a rate from 0 to below 1")

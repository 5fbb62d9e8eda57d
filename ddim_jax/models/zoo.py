"""The models by name, and what belongs to each: its sizes, its inputs, its process."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ddim_jax.diffusion import DiffusionProcess, DirectProcess
from ddim_jax.models.medsegdiff import MedSegDiff
from ddim_jax.models.plain_unet import PlainUNet
from ddim_jax.models.unet import DenoisingUNet
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.runtime.values import is_number, is_whole

MODELS = {
    "lightweight_ddim": (DenoisingUNet, {"light": True}),
    "ddim": (DenoisingUNet, {"light": False}),
    "unet": (PlainUNet, {}),
    "medsegdiff": (MedSegDiff, {}),
}

PRESETS = {
    "small": {
        DenoisingUNet: {
            "base_channels": 24,
            "channel_multipliers": (1, 2, 3, 4),
            "blocks_per_level": 1,
            "attention_levels": (),
            "norm_groups": 8,
            "stem_stride": 2,
        },
        PlainUNet: {"base_channels": 16, "channel_multipliers": (1, 2, 3, 4, 6), "stem_stride": 2},
        MedSegDiff: {
            "base_channels": 16,
            "channel_multipliers": (1, 2, 3, 4),
            "blocks_per_level": 1,
            "attention_levels": (),
            "fusion_levels": (1, 2),
            "frequency_bins": 8,
            "norm_groups": 8,
            "stem_stride": 2,
        },
    },
}
"""Sizes other than the defaults, by class. `small` is for CPUs: the demo, the tests, pictures of 64 to 128 pixels."""

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def create_model(name: str, *, preset: str | None = None, **overrides: Any) -> nn.Module:
    """Builds a model. A denoiser is called as `model.apply({"params": p}, noisy_mask, image, t)`, "unet" with the image
    alone.

    Args:
      name: "lightweight_ddim" (22,882,945 parameters), "ddim" (113,672,065), "unet" (23,772,449) or "medsegdiff"
        (143,405,825).
      preset: None for the paper's size, or "small".
      **overrides: fields of the model's class, over the preset; None keeps what the preset or the class says, whether
        the class has the field or not. `dtype` is "float32" or "bfloat16".

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
    overrides = {key: value for key, value in overrides.items() if value is not None}
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise ConfigError(f"model has no field {', '.join(map(repr, unknown))}; it has {', '.join(sorted(known))}")
    fields = {**(PRESETS[preset][cls] if preset else {}), **overrides}
    # Configs carry lists (JSON) and strings; modules want hashable tuples and dtypes.
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    if "dtype" in fields and fields["dtype"] not in DTYPES.values():
        if not isinstance(fields["dtype"], str) or fields["dtype"] not in DTYPES:
            raise ConfigError(f"model.dtype is {fields['dtype']!r}; expected one of {', '.join(DTYPES)}")
        fields["dtype"] = DTYPES[fields["dtype"]]
    _check(cls, fields)
    return cls(**fixed, **fields)


def example_inputs(model: nn.Module, image_size: int) -> tuple[jax.Array, ...]:
    """Zeros of the shapes that a model is called with, for one image: (image,) or (noisy_mask, image, t)."""
    image = jnp.zeros((1, image_size, image_size, 3))
    if isinstance(model, PlainUNet):
        return (image,)
    return image[..., :1], image, jnp.zeros((1,), jnp.int32)


def create_process(model: nn.Module, diffusion: Mapping[str, Any]) -> DiffusionProcess | DirectProcess:
    """How a model is trained and sampled, from a config's `diffusion` section.

    Raises:
      ConfigError: a field cannot work, or the model has no diffusion and one is set.
    """
    process = DirectProcess if isinstance(model, PlainUNet) else DiffusionProcess
    return process.create(**diffusion)


def _check(cls, fields: dict[str, Any]) -> None:
    """Refuses sizes with which the network cannot be built, naming the field."""
    values = {field.name: field.default for field in dataclasses.fields(cls)} | fields
    for field in ("base_channels", "blocks_per_level", "norm_groups", "stem_stride", "frequency_bins"):
        value = values.get(field, 1)
        if not is_whole(value, 1):
            raise ConfigError(f"model.{field} is {value!r}; expected a whole number from 1")
    if values["base_channels"] % 8:
        raise ConfigError(f"model.base_channels is {values['base_channels']}; expected a multiple of 8")
    levels = values["channel_multipliers"]
    if not isinstance(levels, tuple) or not levels or not all(is_whole(m, 1) for m in levels):
        raise ConfigError(f"model.channel_multipliers is {levels!r}; expected one whole number from 1 for each level")
    for field in ("attention_levels", "fusion_levels"):
        named = values.get(field, ())
        if not isinstance(named, tuple) or not all(is_whole(level, 0) for level in named):
            raise ConfigError(f"model.{field} is {named!r}; expected whole numbers, the levels 0 to {len(levels) - 1}")
        outside = [level for level in named if level >= len(levels)]
        if outside:
            raise ConfigError(f"model.{field} names {outside}; the levels are 0 to {len(levels) - 1}")
    if not is_number(values["dropout"]) or not 0.0 <= values["dropout"] < 1.0:
        raise ConfigError(f"model.dropout is {values['dropout']!r}; expected a rate from 0 to below 1")
    for field in ("channel_shuffle", "remat"):
        if not isinstance(values.get(field, False), bool):
            raise ConfigError(f"model.{field} is {values[field]!r}; expected true or false")

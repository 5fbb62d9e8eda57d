"""Networks by name, and the declaration that comes with each."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ddim_jax.diffusion import DiffusionProcess, DirectProcess
from ddim_jax.fields import Field
from ddim_jax.labels import Labels
from ddim_jax.registry import DENOISER_CALL, MODELS
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.runtime.pinned import key as key_of

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

DENOISER_DEFAULTS = {
    "diffusion": {
        "prediction": "noise",
        "loss": "mse",
        "loss_weight": "plain",
        "mask_scale": 1.0,
        "timestep_power": 1.0,
        "num_train_timesteps": 1000,
        "noise_schedule": "linear",
        "beta_start": 1e-4,
        "beta_end": 0.02,
        "zero_terminal_snr": False,
    },
    "train": {"learning_rate": 2e-5, "validation_steps": 10},
    "sample": {
        "sampler": "ddim",
        "steps": 50,
        "samples": 5,
        "flips": False,
        "protocol": "paper",
        "clip_x0": 1.0,  # the mask has no other values; docs/explanation/method.md has what that is worth
    },
}
"""The paper's setting, and the process of DDPM."""
DIRECT_DEFAULTS = {
    "train": {"learning_rate": 1e-3, "validation_steps": 1},
    "sample": {"steps": 1, "samples": 4, "flips": True, "protocol": "mean"},
}
"""One pass; the samples are the four mirror images."""


@dataclasses.dataclass(frozen=True, eq=False)
class ModelSpec:
    """A network with how it is called, trained and sampled; the entry of `ddim_jax.registry.MODELS`.

    Attributes:
      module: its class, a Flax module. It has an attribute or property `size_multiple`: height and width have to be
        multiples of that many pixels. Its `__call__` takes a keyword argument `train` and, according to the process,
        the noisy mask float32 [B, H, W, C], the image float32 [B, H, W, 3] in [-1, 1] and the timesteps int32 [B], or
        the image alone; it returns float32 [B, H, W, C]. C, the channels of the mask, is its field `mask_channels`; a
        class without that field has one channel, and takes one class.
      fixed: fields of the class that a config cannot set.
      process: `DiffusionProcess`, for a denoiser, or `DirectProcess`, for a network that gives the mask in one pass.
      defaults: values of a config's sections `diffusion`, `train` and `sample` for fields that are None there, where
        they differ from the paper's setting (`DENOISER_DEFAULTS`) or, in one pass, that of the U-Net
        (`DIRECT_DEFAULTS`). Then they are complete.
      presets: sizes other than the defaults of the class, by name.
      ranges: what fields of the class may be, and what they are, by name; a field that is not here is derived from its
        type. Those of networks with levels are in `ddim_jax.models.levels`.
      check: refuses networks whose fields do not fit together, with a `ConfigError`.
      encodes: True if the class has a method `encode`, which takes images float32 [B, H, W, 3] and the keyword argument
        `train` and returns a `ddim_jax.diffusion.Encoded`: it is evaluated once for all steps and samples of an image,
        and `__call__` is given its answer in the place of the image.

    Raises:
      ConfigError: `fixed`, `defaults` or `presets` has a name that is no field.
    """

    module: type[nn.Module]
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    process: type = DiffusionProcess
    defaults: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    ranges: Mapping[str, Field] = dataclasses.field(default_factory=dict)
    check: Callable[[Any], None] = lambda model: None
    encodes: bool = False

    def __post_init__(self):
        own = DIRECT_DEFAULTS if issubclass(self.process, DirectProcess) else DENOISER_DEFAULTS
        parts = {part: {**own.get(part, {}), **self.defaults.get(part, {})} for part in {**own, **self.defaults}}
        object.__setattr__(self, "defaults", parts)
        self._check_names()

    def _check_names(self) -> None:
        """Refuses a declaration with names of fields that there are not, which would break every config."""
        if not dataclasses.is_dataclass(self.module):
            return  # which is refused where it is registered
        named = [f"{part}.{name}" for part, values in self.defaults.items() for name in values]
        decided = [f"{part}.{name}" for part, values in DENOISER_DEFAULTS.items() for name in values]
        own = [field.name for field in dataclasses.fields(self.module) if field.name not in ("parent", "name")]
        declared = {"defaults": (named, decided), "fixed": (self.fixed, own)}
        declared |= {f"presets[{name!r}]": (values, self.fields) for name, values in self.presets.items()}
        for place, (names, known) in declared.items():
            if unknown := [name for name in names if name not in known]:
                raise ConfigError(
                    f"the ModelSpec of {self.module.__name__} has {unknown[0]!r} in {place}; expected some of "
                    + ", ".join(known)
                )

    @property
    def call(self) -> str:
        """The names of the arguments of the network's `__call__`, those behind the "*" by name."""
        return "image, *, train" if issubclass(self.process, DirectProcess) else DENOISER_CALL

    @functools.cached_property
    def fields(self) -> dict[str, Field]:
        """The fields that `model.overrides` of a config may have, by name."""
        known = {}
        for field in dataclasses.fields(self.module):
            found = self.ranges.get(field.name) or _derived(field)
            if found and field.name not in ("parent", "name", "mask_channels", *self.fixed):
                default = None if field.default is dataclasses.MISSING else field.default
                default = jnp.dtype(default).name if field.name == "dtype" else default
                known[field.name] = dataclasses.replace(found, default=default)
        return known

    def values(self, preset: str | None, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The value of each of `fields`: the override, where it is not None, else that of the preset or the class."""
        default = {name: field.default for name, field in self.fields.items()}
        own = {name: value for name, value in overrides.items() if value is not None}
        return {**default, **self.presets.get(preset, {}), **own}

    def create(
        self, preset: str | None = None, overrides: Mapping[str, Any] | None = None, mask_channels: int = 1
    ) -> nn.Module:
        """The network; arguments and errors as `create_model`."""
        if not hasattr(self.module, "size_multiple"):
            raise TypeError(f"{self.module.__name__} has no size_multiple; give it one, 1 for images of any size")
        if preset is not None and preset not in self.presets:
            raise ConfigError(
                f"model.preset is {preset!r}; expected {' or '.join([*self.presets, 'none'])}, the network's own size"
            )
        overrides = {name: value for name, value in (overrides or {}).items() if value is not None}
        unknown = sorted(set(overrides) - set(self.fields))
        if unknown:
            raise ConfigError(f"model has no field {', '.join(map(repr, unknown))}; it has {', '.join(self.fields)}")
        values = {**self.presets.get(preset, {}), **overrides}
        # Configs carry lists (JSON) and names of dtypes; modules are hashed and compute with dtypes.
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        for name, value in values.items():
            if name != "dtype" or value not in DTYPES.values():
                self.fields[name].check(f"model.overrides.{name}", value)
        if isinstance(values.get("dtype"), str):
            values["dtype"] = DTYPES[values["dtype"]]
        if mask_channels != 1:  # of one class a network needs to know nothing
            if "mask_channels" not in {field.name for field in dataclasses.fields(self.module)}:
                raise ConfigError(
                    f"data.labels needs {mask_channels} channels of the mask, and {self.module.__name__} has one; give "
                    "it a field mask_channels, or choose another model.name"
                )
            values["mask_channels"] = mask_channels
        model = self.module(**self.fixed, **values)
        self.check(model)
        return model

    def example_inputs(self, image_size: int, mask_channels: int = 1) -> tuple[jax.Array, ...]:
        """Zeros of the shapes that the network is called with, for one image: (image,) or (noisy_mask, image, t)."""
        image = jnp.zeros((1, image_size, image_size, 3))
        if issubclass(self.process, DirectProcess):
            return (image,)
        return jnp.zeros((*image.shape[:3], mask_channels)), image, jnp.zeros((1,), jnp.int32)


def model_spec(name: str) -> ModelSpec:
    """The declaration of the network of that name; a class registered as it is has the defaults of `ModelSpec`.

    Raises:
      ConfigError: there is no network of that name.
    """
    return _spec(MODELS.get(name, "model.name"))


def create_model(name: str, *, preset: str | None = None, mask_channels: int = 1, **overrides: Any) -> nn.Module:
    """Builds a model. A denoiser is called as `model.apply({"params": p}, noisy_mask, image, t)`, a network that gives
    the mask in one pass, such as "unet", with the image alone.

    Args:
      name: in `ddim_jax.registry.MODELS`, such as "lightweight_ddim".
      preset: None for the network's own size, or one of its presets, such as "small".
      mask_channels: of the mask, `ddim_jax.labels.Labels.channels`; 1 for one class.
      **overrides: fields of the model's class, over the preset; None keeps what the preset or the class says, whether
        the class has the field or not. `dtype` is "float32" or "bfloat16".

    Raises:
      ConfigError: an unknown name, preset or field, or a value the field cannot take.
    """
    return model_spec(name).create(preset, overrides, mask_channels)


def example_inputs(model: nn.Module, image_size: int) -> tuple[jax.Array, ...]:
    """Zeros of the shapes that a model is called with, for one image: (image,) or (noisy_mask, image, t)."""
    return spec_of(model).example_inputs(image_size, getattr(model, "mask_channels", 1))


def param_shapes(model: nn.Module, image_size: int) -> Any:
    """The tree of a model's weights as `jax.ShapeDtypeStruct`; nothing is computed."""
    return jax.eval_shape(lambda key: model.init(key, *example_inputs(model, image_size)), key_of(0))["params"]


def create_process(
    model: nn.Module, diffusion: Mapping[str, Any], labels: Labels = Labels()
) -> DiffusionProcess | DirectProcess:
    """The process that trains and samples a model, from a config's `diffusion` section and the classes of the masks.

    Raises:
      ConfigError: a field cannot work, or the model has no diffusion and one is set.
    """
    return spec_of(model).process.create(**diffusion, labels=labels)


def _spec(entry: Any) -> ModelSpec:
    return entry if isinstance(entry, ModelSpec) else ModelSpec(entry)


def spec_of(model: nn.Module) -> ModelSpec:
    """The declaration of a model's class; one that was not registered is a denoiser."""
    declared = (_spec(entry) for _, entry in MODELS.items())
    return next((spec for spec in declared if spec.module is type(model)), None) or ModelSpec(type(model))


def _derived(field: dataclasses.Field) -> Field | None:
    """The field of a config for one of a module, from its annotation or its default; None if JSON has no such value.

    The annotation comes first: 0 is a default of numbers that need not be whole. It is a text where the module has
    `from __future__ import annotations`.
    """
    if field.name == "dtype":
        return Field(str, help="data type of the computation; parameters stay float32", choices=DTYPES)
    plain = (bool, int, float, str)
    if kind := next((kind for kind in plain if field.type in (kind, kind.__name__)), None):
        return Field(kind)
    if isinstance(field.default, tuple):
        return Field(tuple, items=type(field.default[0]) if field.default else int)
    return Field(type(field.default)) if type(field.default) in plain else None

"""The config of a run, made from the fields of `ddim_jax.schema`: begun, filled in, checked, read back, compared.

`create_config` is what the files of configs/ build on, `resolve_config` has one value for each field and checks them,
`saved_config` reads those of a checkpoint, `differences` compares them when a run goes on.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ddim_jax.data.augmentation import AUGMENTATIONS
from ddim_jax.data.folds import check_folds
from ddim_jax.diffusion import DirectProcess
from ddim_jax.fields import (
    Field,
    check_sections,
    fields_of,
    leaves,
    plain_config,
    section_dict,
    value_at,
    with_added,
    with_defaults,
)
from ddim_jax.imageio.coded import parse_segments
from ddim_jax.labels import Labels
from ddim_jax.models import model_spec
from ddim_jax.registry import MODELS, import_plugins
from ddim_jax.runtime.errors import CheckpointError, ConfigError, InputError
from ddim_jax.runtime.remote import refuse_remote
from ddim_jax.runtime.values import is_whole
from ddim_jax.sampling_options import check_flips, window
from ddim_jax.schema import MOST_SIDE, SCHEMA
from ddim_jax.unused_fields import unused_fields

_NO_DIFFUSION = ("diffusion.", "sample.sampler")
"""Fields that a network without diffusion has no value for, but the loss where that is chosen."""


def create_config() -> ConfigDict:
    """The base of every config: the paper's setting, with a section of `systems` for every network that there is.

    It is locked, so that a misspelt field is refused; so are the fields of `model.overrides`, which are those of the
    networks that are registered now: import your own first.
    """
    config = section_dict(SCHEMA)
    config.model.overrides = section_dict(override_fields(), unset=True)
    config.systems = ConfigDict({name: _system(name) for name in MODELS})
    return config.lock()


def resolve_config(config: Any) -> dict[str, Any]:
    """A config with one value for each field, checked.

    Args:
      config: of ml_collections or a mapping. Without a section `systems` it is taken for a resolved one.

    Returns:
      dicts, lists, numbers, texts and None, as JSON would give them back; `model.overrides` has what is set alone.

    Raises:
      ConfigError: a field is unknown, missing or cannot work; it is named, with what was found and what was expected.
      InputError: a path is of remote storage.
    """
    plain = plain_config(config)
    if "plugins" in plain:
        SCHEMA["plugins"].check("plugins", plain["plugins"])
        import_plugins(plain["plugins"])
    if not isinstance(plain.get("model"), Mapping):
        raise ConfigError(f"model is {plain.get('model')!r}; expected a section")
    spec = model_spec(plain["model"].get("name"))
    if "systems" in plain:
        systems = plain.pop("systems")
        _check_systems(systems)
        name = plain["model"]["name"]
        own = with_defaults(f"systems.{name}", systems.get(name, {}), spec.defaults, none_is_set=True)
        plain = with_defaults("", plain, own)
    data = plain.get("data")
    if isinstance(data, Mapping) and isinstance(data.get("augmentation"), str):
        plain["data"] = with_defaults("data", data, AUGMENTATIONS.get(data["augmentation"], {}))
    if isinstance(plain["model"].get("overrides"), Mapping):
        overrides = plain["model"]["overrides"]
        plain["model"] = plain["model"] | {"overrides": {k: v for k, v in overrides.items() if v is not None}}
    if isinstance(data, Mapping) and is_whole(data.get("crop"), 1) and data["crop"] <= MOST_SIDE:
        plain["data"] = plain["data"] | {"image_size": data["crop"]}
    check_config(plain)
    labels = Labels.from_config(plain["data"])
    try:
        parse_segments(plain["data"]["segments"], labels.class_names)
    except InputError as error:
        raise ConfigError(f"data.{error}") from error
    plain["data"] |= labels.as_config()
    return plain


def check_config(config: Mapping[str, Any]) -> None:
    """Checks a resolved config; errors as `resolve_config`."""
    if not isinstance(config.get("model"), Mapping):
        raise ConfigError(f"model is {config.get('model')!r}; expected a section")
    spec = model_spec(config["model"].get("name"))  # before what an unknown one leaves unset
    direct = issubclass(spec.process, DirectProcess)
    check_sections(config, SCHEMA, "")
    about, train, sample, data = (config[name] for name in ("model", "train", "sample", "data"))
    for name, field in fields_of(SCHEMA):
        value = value_at(config, name)
        if direct and name.startswith(_NO_DIFFUSION) and not (name == "diffusion.loss" and value is not None):
            if value is not None:
                raise ConfigError(f"{name} is {value!r}; expected none, since {about['name']} works in one pass")
        else:
            field.check(name, value)
    labels = Labels.from_config(data)
    refuse_remote(train["init_from"], "train.init_from")
    refuse_remote(data["unlabelled"], "data.unlabelled")
    check_folds(data["name"], data["folds"], data["fold"])
    if data["unlabelled"] and data["crop"]:
        raise ConfigError(
            f"data.crop is {data['crop']} and data.unlabelled is {data['unlabelled']!r}; expected data.crop=0 with "
            "unlabelled images, which are resized whole"
        )
    for name in ("empty_windows", "erased"):
        if data[name] and data["crop"]:
            raise ConfigError(
                f"data.crop is {data['crop']} and data.{name} is {data[name]}; expected data.crop=0 with these: "
                "half of the crops lie anywhere and are often empty"
            )
    if (train["steps"] > 0) == (train["epochs"] > 0):
        raise ConfigError(
            f"train.steps is {train['steps']} and train.epochs is {train['epochs']}; expected one of them above 0, "
            "the other 0" + (": add --config.train.epochs=0 or --config.train.steps=0" if train["steps"] > 0 else "")
        )
    length = train["schedule_steps"] or train["steps"]
    if length and train["warmup_steps"] >= length:
        of = "train.schedule_steps" if train["schedule_steps"] else "the run"
        raise ConfigError(
            f"train.warmup_steps is {train['warmup_steps']}; expected 0 to below the {length} steps of {of}; "
            "--config.train.warmup_steps=0 has none"
        )
    total = config["diffusion"]["num_train_timesteps"]
    for field, steps in (("sample.steps", sample["steps"]), ("train.validation_steps", train["validation_steps"])):
        if direct and steps != 1:
            raise ConfigError(f"{field} is {steps}; expected 1, since {about['name']} works in one pass")
        if not direct and steps > total:
            raise ConfigError(f"{field} is {steps}; expected at most diffusion.num_train_timesteps, {total}")
    try:
        if data["window"] is not None:
            window("data.window", data["window"])
        check_flips("sample.flips", sample["flips"], data)
    except InputError as error:
        raise ConfigError(str(error)) from error
    model = spec.create(about["preset"], about["overrides"], labels.channels)
    if data["image_size"] % model.size_multiple:
        field = "data.crop" if data["crop"] else "data.image_size"  # which is that of the crops
        raise ConfigError(f"{field} is {data['image_size']}; expected a multiple of {model.size_multiple}")
    spec.process.create(**config["diffusion"])


def without_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved config for other machines: without the paths that say where images and first weights lay."""
    cleared = {"data": {"root": "", "cache_dir": None, "unlabelled": ""}, "train": {"init_from": None}}
    return dict(config) | {name: config[name] | fields for name, fields in cleared.items() if name in config}


def saved_config(file: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved config in the metadata of a checkpoint, checked; the modules that it names are imported.

    Args:
      file: the metadata's, for messages.

    Raises:
      CheckpointError: there is none, or a field cannot work; the file and the field are named.
    """
    config, data = metadata.get("config"), metadata.get("data")
    if not isinstance(config, Mapping):
        raise CheckpointError(f"{file}: config is {config!r}; expected a section. Was it made by `ddim-jax train`?")
    if not isinstance(data, Mapping | None):
        raise CheckpointError(f"{file}: data is {data!r}; expected a section about the training images")
    if "plugins" not in config:
        raise CheckpointError(
            f"{file}: its config has no plugins, so it is of a run of ddim_jax 0.1.0; use that version, or train again"
        )
    config = with_added(config, SCHEMA)
    if isinstance(config.get("data"), Mapping):  # packaged weights have a field that is no more
        config["data"] = {name: value for name, value in config["data"].items() if name != "allow_damaged"}
    try:
        SCHEMA["plugins"].check("plugins", config["plugins"])
        import_plugins(config["plugins"])
        check_config(config)
    except ConfigError as error:
        names = tuple(f"{name} is " for name, field in fields_of(SCHEMA) if field.choices is not None)
        hint = "; if it is of a plug-in: --plugins MODULE" if str(error).startswith(names) else ""
        raise CheckpointError(f"{file}: {error}{hint}") from error
    return config


def differences(
    saved: Mapping[str, Any], current: Mapping[str, Any], schedule_steps: int = 0
) -> dict[str, tuple[Any, Any]]:
    """The fields with other values in `current` than in `saved` with which a run cannot go on: {name: (there, now)}.

    Args:
      saved, current: resolved configs, checked.
      schedule_steps: over which the learning rate of `saved` runs, if that is known.
    """
    may, rate_is_fixed = {"free", "ignored"}, schedule_steps and current["train"]["schedule_steps"] == schedule_steps
    if saved["train"]["lr_schedule"] == "constant" or rate_is_fixed:
        may.add("length")
    unused = unused_fields(saved).keys() & unused_fields(current).keys()
    named = saved["model"]["overrides"].keys() | current["model"]["overrides"].keys()

    def values(config):  # an override that says what the field is anyway changes nothing
        about = config["model"]
        own = model_spec(about["name"]).values(about["preset"], about["overrides"])
        return dict(leaves(config)) | dict(leaves({name: own.get(name) for name in named}, "model.overrides."))

    before, now = values(saved), values(current)
    rules = {name: field.resume for name, field in fields_of(SCHEMA)}
    fields = model_spec(current["model"]["name"]).fields
    rules |= {f"model.overrides.{name}": field.resume for name, field in fields.items()}
    return {
        name: (before.get(name), now.get(name))
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and rules.get(name) not in may and name not in unused
    }


def total_steps(steps: int, epochs: float, batch_size: int, examples: int) -> int:
    """The length of a run in steps: `steps` where it is above 0, else `epochs` passes over `examples`."""
    return steps if steps > 0 else max(1, round(epochs * examples / batch_size))


def override_fields() -> dict[str, Field]:
    """The fields of all networks that are registered, by name; of any type where two networks differ in it."""
    fields: dict[str, Field] = {}
    for model in MODELS:
        for name, field in model_spec(model).fields.items():
            if fields.setdefault(name, field).type is not field.type:
                fields[name] = dataclasses.replace(field, type=object)
    return fields


def _system(name: str) -> ConfigDict:
    """The declaration of a network, to be changed: the values of its fields, and its `model.overrides`, unset."""
    spec = model_spec(name)
    section = ConfigDict()
    section.model = ConfigDict({"overrides": section_dict(spec.fields, unset=True)})
    for part, values in spec.defaults.items():
        section[part] = section_dict({field: SCHEMA[part][field] for field in values})
        section[part].update(values)
    return section


def _check_systems(systems: Any) -> None:
    """Refuses a section of `systems` for a network that there is not, and fields that a network does not decide."""
    if not isinstance(systems, Mapping):
        raise ConfigError(f"systems is {systems!r}; expected a section for each network")
    decided = {name for name, field in fields_of(SCHEMA) if field.of_model}
    for model, own in systems.items():
        if model not in MODELS:
            raise ConfigError(f"systems has {model!r}; expected some of {', '.join(MODELS)}")
        if not isinstance(own, Mapping):
            raise ConfigError(f"systems.{model} is {own!r}; expected a section")
        for name, value in leaves(own):
            known = decided | {f"model.overrides.{field}" for field in model_spec(model).fields}
            if value is not None and name not in known:
                raise ConfigError(f"systems.{model} has {name!r}, which is no field that a network has a default for")

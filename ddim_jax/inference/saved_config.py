"""The configuration that a checkpoint was saved with, and the network it describes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from ddim_jax.models import create_model, create_process
from ddim_jax.runtime.errors import CheckpointError, ConfigError
from ddim_jax.runtime.values import is_number, is_whole

_SECTIONS = ("model", "diffusion", "data", "sample")
_KINDS = {
    "a text": lambda value: isinstance(value, str),
    "a number": is_number,
    "a whole number from 1": lambda value: is_whole(value, 1),
    "a section": lambda value: isinstance(value, Mapping),
}
_FIELDS = {
    "a text": ("model.name", "data.name", "sample.protocol"),
    "a number": ("sample.eta", "sample.clip_x0?"),
    "a whole number from 1": ("data.image_size", "sample.steps", "sample.samples", "diffusion.num_train_timesteps?"),
}
"""Fields that are there in every run, by their kind; a question mark is behind those that may be None."""
_LATER = {"a text": ("model.preset",), "a section": ("model.overrides",)}
"""Fields that may be missing as well."""


def read_config(folder: Path, metadata: Mapping[str, Any]) -> tuple[dict[str, Any], nn.Module]:
    """The configuration in the metadata of step folder `folder`, with every field that segmenting asks for.

    What a config may lack is what runs of earlier versions have not; `SamplingOptions` has the defaults, and checks
    what is left to a call.

    Returns:
      (the configuration, the network).

    Raises:
      CheckpointError: a section or field is missing or cannot work; the file and the field are named, with what was
        found and what was expected.
    """
    file = folder / "metadata" / "metadata"
    config = metadata.get("config")
    sections = config if isinstance(config, Mapping) else {}
    missing = [name for name in _SECTIONS if not isinstance(sections.get(name), Mapping)]
    if missing:
        raise CheckpointError(f"{file}: its config has no section {', '.join(missing)}; was it made by train.py?")
    if not isinstance(metadata.get("data"), Mapping | None):
        raise CheckpointError(f"{file}: data is {metadata['data']!r}; expected a section about the training images")
    for fields, always in ((_FIELDS, True), (_LATER, False)):
        for kind, names in fields.items():
            for name in names:
                _check_field(file, config, name.removesuffix("?"), kind, always, not always or name.endswith("?"))
    for name, value in config["diffusion"].items():
        if isinstance(value, Mapping | list):
            raise CheckpointError(f"{file}: diffusion.{name} is {value!r}; expected a text or a number")
    about = config["model"]
    overrides = about.get("overrides") or {}
    reserved = sorted({"name", "preset"} & set(overrides))
    if reserved:
        raise CheckpointError(f"{file}: model.overrides has {reserved[0]}; expected it as model.{reserved[0]}")
    try:
        model = create_model(about["name"], preset=about.get("preset"), **overrides)
        create_process(model, config["diffusion"])
    except ConfigError as error:
        raise CheckpointError(f"{file}: {error}") from error
    size = config["data"]["image_size"]
    if size % model.size_multiple:
        raise CheckpointError(f"{file}: data.image_size is {size}; expected a multiple of {model.size_multiple}")
    return dict(config), model


def _check_field(file: Path, config: Mapping[str, Any], name: str, kind: str, always: bool, may_be_none: bool) -> None:
    section, _, field = name.partition(".")
    if field not in config[section]:
        if always:
            raise CheckpointError(f"{file}: its config has no {name}; expected {kind}. Was it made by train.py?")
        return
    value = config[section][field]
    if not (_KINDS[kind](value) or (value is None and may_be_none)):
        raise CheckpointError(f"{file}: {name} is {value!r}; expected {kind}{' or none' if may_be_none else ''}")

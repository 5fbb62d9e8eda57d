"""What a checkpoint says of itself: JSON that any program may have written, so nothing in it is taken for granted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddim_jax.io.errors import CheckpointError
from ddim_jax.io.values import is_number, is_whole

_LARGEST_IMAGE = 2**14
_KINDS = {
    "a section": lambda value: isinstance(value, Mapping),
    "a section or null": lambda value: value is None or isinstance(value, Mapping),
    "a text": lambda value: isinstance(value, str),
    "a text or null": lambda value: value is None or isinstance(value, str),
    "a number from 0 to 1": lambda value: is_number(value) and 0.0 <= value <= 1.0,
    "a number above 0 or null": lambda value: value is None or (is_number(value) and value > 0.0),
    f"a whole number from 1 to {_LARGEST_IMAGE}": lambda value: is_whole(value, 1) and value <= _LARGEST_IMAGE,
}
_SECTION, _MAYBE, _TEXT, _TEXT_OR_NULL, _SHARE, _BOUND, _SIZE = _KINDS
_FIELDS = {
    "config": _SECTION,
    "config.model": _MAYBE,
    "config.model.name": _TEXT,
    "config.model.preset": _TEXT_OR_NULL,
    "config.model.overrides": _SECTION,
    "config.diffusion": _MAYBE,
    "config.data": _MAYBE,
    "config.data.image_size": _SIZE,
    "config.train": _MAYBE,
    "config.train.schedule": _TEXT,
    "config.sample": _MAYBE,
    "config.sample.eta": _SHARE,
    "config.sample.clip_x0": _BOUND,
    "config.sample.protocol": _TEXT,
    "config.sample.ensemble": _TEXT,
    "config.sample.sampler": _TEXT_OR_NULL,
    "data": _SECTION,
}
"""Fields that the programs look into, by their kind; sections stand before what is in them. What models, processes and
settings are made of, these check themselves."""


class _Fields(dict):
    """A section; to ask for a field that is not there is an error for the user, who gave the checkpoint."""

    def __init__(self, fields: Mapping[str, Any], folder: Path):
        super().__init__(fields)
        self._folder = folder

    def __missing__(self, name: str) -> Any:
        raise CheckpointError(f"{self._folder}: its metadata have no {name!r}; was it made by train.py?")


def described(folder: Path, metadata: Any) -> dict[str, Any]:
    """The metadata of step folder `folder`, once what is there is of its kind; earlier versions wrote fewer fields.

    Returns:
      The same, but that asking for a field that is not there, at any depth, raises a CheckpointError.

    Raises:
      CheckpointError: a field is of another kind, or the whole is no section; it is named, with what was found.
    """
    if not isinstance(metadata, Mapping):
        raise CheckpointError(f"{folder}: its metadata are no section but {_shown(metadata)}; was it made by train.py?")
    for field, kind in _FIELDS.items():
        *sections, name = field.split(".")
        place = metadata
        for section in sections:
            place = place.get(section) or {}
        if name in place and not _KINDS[kind](place[name]):
            raise CheckpointError(f"{folder}: in its metadata {field} is {_shown(place[name])}; expected {kind}")
    model = metadata.get("config", {}).get("model") or {}
    reserved = sorted({"name", "preset"} & model.get("overrides", {}).keys())
    if reserved:
        raise CheckpointError(f"{folder}: in its metadata config.model.overrides has {reserved[0]}; expected it above")
    return _with_errors(metadata, folder)


def _with_errors(value: Any, folder: Path) -> Any:
    if isinstance(value, Mapping):
        return _Fields({name: _with_errors(one, folder) for name, one in value.items()}, folder)
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

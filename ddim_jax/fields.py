"""A field of a configuration: what its values may be, said in words and checked; and sections of fields."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from ml_collections import ConfigDict, config_dict

from ddim_jax.runtime.errors import ConfigError
from ddim_jax.runtime.values import is_number, is_whole

Resume = Literal["same", "length", "free", "ignored"]
"""May a run go on with another value? "same": no. "length": where the learning rate is constant. "free": yes, it holds
from there on. "ignored": yes, nothing depends on it any more."""


@dataclasses.dataclass(frozen=True)
class Field:
    """One field.

    Attributes:
      type: str, bool, int, float (which takes whole numbers too), tuple (of `items`), or dict: a mapping of names to
        whole numbers or lists of them, or one of these alone.
      default: None where there is none; with `of_model` the model's own default stands there.
      help: one line for the reference, without a full stop.
      low, high: bounds of a number, or of each item of a tuple; they may be reached.
      above, below: bounds of a float that may not be reached.
      multiple: an int has to be a multiple of it.
      choices: the texts that there are, looked up when a value is checked.
      items: int, float or str: the type of the items of a tuple.
      lengths: the least and the largest number of items of a tuple.
      optional: whether None is a value.
      of_model: whether None stands for the default that the model declares.
      of_augmentation: whether None stands for the value that the name in `data.augmentation` stands for.
      resume: whether a run may go on with another value.
      added: whether there are configs that were saved before there was this field; they mean its default.
    """

    type: type
    default: Any = None
    help: str = ""
    _: dataclasses.KW_ONLY
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    multiple: int = 1
    choices: Iterable[str] | None = None
    items: type = int
    lengths: tuple[int, int] = (0, 64)
    optional: bool = False
    of_model: bool = False
    of_augmentation: bool = False
    resume: Resume = "same"
    added: bool = False

    def check(self, name: str, value: Any) -> None:
        """Refuses a value that the field cannot have.

        Raises:
          ConfigError: names the field, the value and what is expected.
        """
        if not self.takes(value):
            raise ConfigError(f"{name} is {value!r}; expected {self.expected()}")

    def takes(self, value: Any) -> bool:
        """Returns True if the field can have that value; a tuple may be a list, as JSON has it."""
        if value is None:
            return self.optional
        if self.type is tuple:
            item = dataclasses.replace(self, type=self.items, optional=False)
            least, most = self.lengths
            return isinstance(value, tuple | list) and least <= len(value) <= most and all(map(item.takes, value))
        if self.type is dict:
            return isinstance(value, Mapping | tuple | list) or is_whole(value, 0)
        if self.type is bool:
            return isinstance(value, bool)
        if self.type is str:
            return isinstance(value, str) and (self.choices is None or value in self.choices)
        if not (is_whole(value, -(2**63)) if self.type is int else is_number(value)):
            return False
        bounds = (
            self.low is None or value >= self.low,
            self.high is None or value <= self.high,
            self.above is None or value > self.above,
            self.below is None or value < self.below,
        )
        return all(bounds) and abs(value) < float("inf") and (self.type is float or value % self.multiple == 0)

    def expected(self) -> str:
        """The values that the field can have, in words."""
        if self.type is tuple:
            item = dataclasses.replace(self, type=self.items, optional=False).expected()
            least, most = self.lengths
            words = f"{least if least == most else f'{least} to {most}'} values, each {item}"
        elif self.type is dict:
            words = 'names with whole numbers or lists of them, as {"lung": [1, 2], "heart": 3}, or one of these alone'
        elif self.type is bool:
            words = "true or false"
        elif self.type is str:
            names = ", ".join(self.choices or ())
            words = "a text" if self.choices is None else f"one of {names}" if names else "the name of a plug-in's"
        else:
            words = "a number" if self.type is float else "a whole number"
            words = f"a multiple of {self.multiple}" if self.multiple > 1 else words
            bounds = (("from", self.low), ("above", self.above), ("to", self.high), ("to below", self.below))
            words = " ".join([words, *(f"{where} {bound}" for where, bound in bounds if bound is not None)])
        separator = "," if self.type is tuple else ""
        return f"{words}{separator} or none" if self.optional else words


def plain_config(config: Any) -> dict[str, Any]:
    """A config (ml_collections or a mapping) as JSON would give it back: dicts, lists, numbers, strings, None.

    NaN and the infinities are kept, for the fields to refuse.

    Raises:
      ConfigError: it is no mapping, or holds something else.
    """
    content = config.to_dict() if hasattr(config, "to_dict") else config
    if not isinstance(content, Mapping):
        raise ConfigError(f"the configuration is {type(config).__name__}; expected fields and sections")
    try:
        return json.loads(json.dumps(content))
    except (TypeError, ValueError) as error:
        what = next(_unwritable(content), "the configuration")
        raise ConfigError(f"{what} cannot be written as JSON ({error})") from error


def fields_of(sections: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Field]]:
    """The fields of a schema with their full names."""
    for name, field in sections.items():
        if isinstance(field, Field):
            yield f"{prefix}{name}", field
        else:
            yield from fields_of(field, f"{prefix}{name}.")


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a config with their full names; tuples as lists."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", list(value) if isinstance(value, tuple) else value


def value_at(config: Mapping[str, Any], name: str) -> Any:
    """The value of the field with that full name, such as "data.root", or that section; "" is all of it.

    Raises:
      KeyError: there is no such field or section.
    """
    for part in filter(None, name.split(".")):
        config = config[part]
    return config


def section_dict(fields: Mapping[str, Any], *, unset: bool = False) -> ConfigDict:
    """A section with the defaults of its fields, or None for all; each field keeps its type."""
    section = ConfigDict()
    for name, field in fields.items():
        if isinstance(field, Field):
            # A mapping is one value here, which ml_collections would make a section of.
            section[name] = config_dict.placeholder(object if field.type is dict else field.type)
            section[name] = None if unset else field.default
        else:
            section[name] = section_dict(field)
    return section


def with_defaults(name: str, fields: Any, own: Mapping[str, Any], *, none_is_set: bool = False) -> dict[str, Any]:
    """Section `name` with `fields`, and the values of `own` for those that are not set, at every depth."""
    if not isinstance(fields, Mapping):
        raise ConfigError(f"{name} is {fields!r}; expected a section")
    filled = dict(fields)
    for key, value in own.items():
        if isinstance(value, Mapping):
            filled[key] = with_defaults(
                f"{name}.{key}".lstrip("."), fields.get(key, {}), value, none_is_set=none_is_set
            )
        elif fields.get(key) is None and not (none_is_set and key in fields):
            filled[key] = value
    return filled


def with_added(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """A saved config with the defaults of the fields that were added since, in the sections that it has."""
    filled = dict(config)
    for name, field in schema.items():
        if isinstance(field, Field):
            if field.added:
                filled.setdefault(name, list(field.default) if field.type is tuple else field.default)
        elif isinstance(filled.get(name), Mapping):
            filled[name] = with_added(filled[name], field)
    return filled


def check_sections(config: Any, schema: Mapping[str, Any], prefix: str) -> None:
    """Refuses fields that are missing or unknown, at every depth."""
    if not isinstance(config, Mapping):
        raise ConfigError(f"{prefix.rstrip('.')} is {config!r}; expected a section")
    for name, field in schema.items():
        if name not in config:
            raise ConfigError(f"the configuration has no {prefix}{name}; `ddim-jax fields` lists all")
        if not isinstance(field, Field):
            check_sections(config[name], field, f"{prefix}{name}.")
    unknown = sorted(set(config) - set(schema), key=str)
    if unknown and prefix != "model.overrides.":  # which the network checks
        raise ConfigError(f"the configuration has no field {prefix}{unknown[0]}; `ddim-jax fields` lists all")


def _unwritable(content: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The fields, with their values, that JSON does not have."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from _unwritable(value, (*path, str(name)))
        return
    try:
        json.dumps(content, allow_nan=False)
    except (TypeError, ValueError):
        yield f"{'.'.join(path)} is {content!r}, which"

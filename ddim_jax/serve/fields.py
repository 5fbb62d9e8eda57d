"""The fields of a request, as text, and the options that they choose.

Each combination of steps and samples compiles a program, so both are bounded, and a server holds a few programs only
(`Limits`). What else a program depends on is chosen for the whole server when it is started.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from ddim_jax.inference.segmenter import Segmenter
from ddim_jax.runtime.errors import InputError
from ddim_jax.sampling_options import SamplingOptions, option_type
from ddim_jax.serve.limits import Limits

OPTIONS = ("steps", "samples", "seed", "protocol", "ensemble", "threshold", "window", "invert")
EXAMPLES = 16
"""Phantoms to choose from, the numbers 0 .. 15 of the field `example`."""
_BOUNDED = ("steps", "samples")
_LONGEST_NUMBER = 40
_BOOLEANS = {"true": True, "false": False}


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request without its files.

    Attributes:
      options: fields of `SamplingOptions`.
      example: the number of a phantom in place of a file; None for a file.
      wait: True if the answer comes with the result, False if at once.
    """

    options: Mapping[str, Any]
    example: int | None = None
    wait: bool = True


def parse(fields: Mapping[str, str]) -> Asked:
    """The request that the fields make.

    Raises:
      InputError: a field is not known, or its value cannot be used.
    """
    unknown = [name for name in fields if name not in (*OPTIONS, "example", "wait")]
    if unknown:
        raise InputError(
            f"no field is called {unknown[0][:40]!r}; expected some of {', '.join((*OPTIONS, 'example', 'wait'))}"
        )
    options = {name: _value(name, text) for name, text in fields.items() if name in OPTIONS and text != ""}
    example = None
    if "example" in fields:
        example = _number("example", fields["example"], int)
        if not 0 <= example < EXAMPLES:
            raise InputError(f"example is {example}; expected a number from 0 to {EXAMPLES - 1}")
    return Asked(options, example, _boolean("wait", fields.get("wait", "true")))


def most(limits: Limits, options: Iterable[SamplingOptions]) -> dict[str, int]:
    """The most steps and samples that a request may ask for: the limits, or what all networks have where it is more."""
    options = list(options)
    return {name: max(getattr(limits, name), min(getattr(one, name) for one in options)) for name in _BOUNDED}


def options_of(segmenter: Segmenter, base: SamplingOptions, asked: Asked, limits: Limits) -> SamplingOptions:
    """The server's options with those of a request in their place.

    Raises:
      InputError: as `SamplingOptions.create`; and for fewer or more steps or samples than a request may ask for.
    """
    for name, bound in most(limits, [base]).items():
        if not 1 <= asked.options.get(name, 1) <= bound:
            raise InputError(f"{name} is {asked.options[name]}; this server takes 1 to {bound}")
    return segmenter.options(base, **asked.options)


def _value(name: str, text: str) -> Any:
    kind = option_type(name)
    if kind is str:
        return text[:40]
    if kind is bool:
        return _boolean(name, text)
    if kind in (int, float):
        return _number(name, text, kind)
    return tuple(_number(name, part, float) for part in text.split(","))  # the window


def _number(name: str, text: str, kind: type) -> Any:
    try:
        if len(text) > _LONGEST_NUMBER or not text.isascii() or "_" in text:  # Python reads more than people write
            raise ValueError
        return kind(text)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        expected = "a centre and a width, as in 40,400" if name == "window" else expected
        raise InputError(f"{name} is {text[:40]!r}; expected {expected}") from None


def _boolean(name: str, text: str) -> bool:
    if text not in _BOOLEANS:
        raise InputError(f"{name} is {text[:40]!r}; expected true or false")
    return _BOOLEANS[text]

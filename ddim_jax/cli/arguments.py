"""Values of options that several commands have, and those that functions for callers in Python check."""

import argparse
import functools
from collections.abc import Callable
from typing import TypeVar

from ddim_jax.runtime.errors import InputError

_Value = TypeVar("_Value")


def checked(check: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """`check` as the `type` of an option of argparse, which then shows the message of an `InputError`."""

    @functools.wraps(check)
    def parse(text: str) -> _Value:
        try:
            return check(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def bound(text: str) -> float | str:
    """A number above 0, or "off" for none, as the `type` of an option of argparse."""
    value = text if text == "off" else float(text)
    if value != "off" and not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{value} is neither above 0 nor off")
    return value

"""Values of command-line options checked by the functions that check them for callers in Python."""

import argparse
import functools
from collections.abc import Callable
from typing import TypeVar

from ddim_jax.io.errors import InputError

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

"""Values that a user gives: checks of numbers (True is none, although Python says it is 1); lists; counts; options."""

import ast
import dataclasses
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, TypeVar

_Dataclass = TypeVar("_Dataclass")

NAMED_AT_MOST = 10
"""Names that a message lists."""


def is_whole(value: object, low: int) -> bool:
    """True if `value` is a whole number from `low` on."""
    return isinstance(value, Integral) and not isinstance(value, bool) and bool(value >= low)


def is_number(value: object) -> bool:
    """True if `value` is a number that a float holds, whole or not; NaN and the infinities are numbers too."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        float(value)
    except OverflowError:  # a whole number of more than 308 digits, as JSON may have it
        return False
    return True


def words(text: str) -> tuple[str, ...]:
    """The words between the commas of a text, without blanks around them."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def check_names(text: str) -> None:
    """Refuses a table, as {"lung": 1}, that has a name twice: Python keeps the last of them without a word.

    Raises:
      ValueError: names it and what is expected; of a text that is no table nothing is said.
    """
    try:
        table = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        return
    names = [key.value for key in getattr(table, "keys", ()) if isinstance(key, ast.Constant)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(
            f'{twice[0]!r} is there twice; expected it once, with all its values: {{"{twice[0]}": [1, 2]}}'
        )


def quantity(number: int, one: str, several: str | None = None) -> str:
    """A number and what it is of: "1 image", "2 images"; `several` where that is not `one` with an s."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def first_names(names: Sequence[object], most: int = NAMED_AT_MOST) -> str:
    """Names with commas between them; of more than `most` the first, and dots."""
    return ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")


def taken(kind: type[_Dataclass], given: dict[str, Any], others: type) -> _Dataclass:
    """The dataclass made of its fields among `given`, which are removed there; the others have their defaults.

    Raises:
      TypeError: what is left is no field of the dataclass `others` either.
    """
    known = [field.name for one in (kind, others) for field in dataclasses.fields(one)]
    if unknown := [name for name in given if name not in known]:
        raise TypeError(f"unexpected option {unknown[0]!r}; expected some of {', '.join(known)}")
    return kind(**{field.name: given.pop(field.name) for field in dataclasses.fields(kind) if field.name in given})

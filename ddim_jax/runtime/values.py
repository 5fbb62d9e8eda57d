"""Checks of numbers that a user gives: True is none, although Python says that it is 1."""

from numbers import Integral, Real


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

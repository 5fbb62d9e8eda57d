"""Values that count as a number, and numbers as they are told."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest

from ddim_jax.runtime.values import check_names, is_number, is_whole, quantity, taken


@pytest.mark.parametrize(
    ("value", "number", "whole"),
    [
        *((value, True, True) for value in (1, np.int32(7), 10**308)),
        *((value, True, False) for value in (0, 0.5, 1.0, Fraction(1, 3), np.float32(2), float("nan"), -float("inf"))),
        (10**309, False, True),  # no float is so large
        *((value, False, False) for value in (-(10**400), True, "1", None, [1], 1j)),
    ],
)
def test_numbers(value, number, whole):
    assert is_number(value) is number
    assert is_whole(value, 1) is whole


def test_counts_as_they_are_told():
    assert [quantity(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert [quantity(number, "mask is", "masks are") for number in (1, 3)] == ["1 mask is", "3 masks are"]


def test_a_name_that_is_twice_in_a_table_is_refused():
    with pytest.raises(ValueError, match=r"""^'lung' is there twice; .*: \{"lung": \[1, 2\]\}$"""):
        check_names(' {"lung": 1, "heart": 3, "lung": 2}')
    for text in ('{"lung": [1, 2], "heart": 3}', "7", "[1, 1]", "lung", "{lung: 1, lung: 2", "", "{**a}", "\0"):
        check_names(text)


def test_fields_of_options_are_taken_from_what_was_given():
    @dataclasses.dataclass(frozen=True)
    class Options:
        near: int = 1
        far: int = 2

    @dataclasses.dataclass(frozen=True)
    class Others:
        other: int = 3

    given = {"far": 5, "other": 7}
    assert taken(Options, given, Others) == Options(1, 5) and given == {"other": 7}
    with pytest.raises(TypeError, match=r"^unexpected option 'fars'; expected some of near, far, other$"):
        taken(Options, {"fars": 5}, Others)

"""Orders and splits that a seed decides: the same everywhere."""

import hashlib

import pytest

from ddim_jax.data.seeded import seeded_order, seeded_split
from ddim_jax.runtime.errors import DataError


def count(split):
    names = list(split.values())
    return [names.count(name) for name in ("train", "val", "test")]


def test_the_order_is_that_of_the_digests():
    names = ["a", "b", "c", "d"]
    digests = {name: hashlib.sha256(f"7/{name}".encode()).hexdigest() for name in names}
    assert seeded_order(names, 7) == sorted(names, key=digests.get)
    assert seeded_order(reversed(names), 7) == seeded_order(names, 7)


@pytest.mark.parametrize(("n", "expected"), [(3, [1, 1, 1]), (9, [7, 1, 1]), (10, [8, 1, 1]), (19, [17, 1, 1]),
                                             (20, [16, 2, 2]), (566, [454, 56, 56])])  # fmt: skip
def test_eight_one_one(n, expected):
    names = [f"{number:04d}" for number in range(n)]
    split = seeded_split(names, 0)
    assert count(split) == expected
    assert split == seeded_split(names[::-1], 0)
    # Names that come later hardly move the others.
    more = seeded_split([*names, "another"], 0)
    assert sum(more[name] != split[name] for name in names) <= 4
    assert n < 20 or seeded_split(names, 1) != split


def test_groups_are_split_each():
    sizes = {"BLI": 70, "FICE": 70, "LCI": 60, "NBI": 146, "WLI": 3588}
    groups = {f"{group}/{number}": group for group, size in sizes.items() for number in range(size)}
    split = seeded_split(groups, 0, groups)
    assert count(split) == [3150, 392, 392]
    for group, size in sizes.items():
        assert count({name: split[name] for name in split if groups[name] == group})[1:] == [size // 10] * 2


def test_two_pairs_cannot_be_split():
    with pytest.raises(DataError, match=r"2 pairs cannot be split.*at least 3"):
        seeded_split(["a", "b"], 0)

"""Names in an order that a seed gives, the same on every machine, and their split."""

import hashlib
from collections.abc import Iterable, Mapping

from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import quantity


def seeded_order(ids: Iterable[str], seed: int) -> list[str]:
    """Shuffles names by the SHA-256 of seed and name: the same on every machine, and where a name stands among the
    others does not change when names are added."""
    return sorted(ids, key=lambda name: digest(name, seed))


def seeded_split(ids: Iterable[str], seed: int, strata: Mapping[str, str] | None = None) -> dict[str, str]:
    """Splits names 8:1:1 into train, val and test.

    Args:
      ids: the names, of images or of groups of images that stay together.
      seed: another seed gives another split.
      strata: a class for each name; val and test get a tenth of each class (rounded down), train what is left. Without
        it all names are one class.

    Returns:
      The split of each name. Val and test have at least one name each.

    Raises:
      DataError: fewer than three names.
    """
    ordered = seeded_order(ids, seed)
    if len(ordered) < 3:
        told = quantity(len(ordered), "pair")
        raise DataError(f"{told} cannot be split into train, val and test; expected at least 3.")
    members: dict[str, list[str]] = {}
    for name in ordered:
        members.setdefault(strata[name] if strata else "", []).append(name)
    split = dict.fromkeys(ordered, "train")
    if all(len(names) < 10 for names in members.values()):
        members = {"": ordered}
    for names in members.values():
        tenth = len(names) // 10 if len(ordered) >= 10 else 1
        split.update(dict.fromkeys(names[:tenth], "val"))
        split.update(dict.fromkeys(names[tenth : 2 * tenth], "test"))
    return split


def digest(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()

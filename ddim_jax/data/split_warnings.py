"""Warnings on splits: one has few images, one image is in two of them, one lacks a class."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from ddim_jax.data.division import GROUPS
from ddim_jax.data.facts import PairFacts
from ddim_jax.labels import Labels
from ddim_jax.runtime.values import quantity

FEW = 9
"""Below so many images a split says little; `evaluate --calibrate` takes no fewer either."""
_LAST_NUMBER = re.compile(r"\d+\W*$")


def few_in_words(
    splits: Mapping[str, int], what: str = "images", *, advise_folds: bool = True, of_folders: bool = False
) -> str:
    """One line on validation and test splits of fewer than `FEW`; "" if both have more.

    An empty split is not told of: a folder may have been divided like that on purpose.

    Args:
      splits: the number in each split.
      what: it is the number of.
      advise_folds: False where a cross-validation cannot be advised: it is a part of one, or of no folder.
      of_folders: as `ddim_jax.data.division.Division` has it.
    """
    few = [name for name in ("val", "test") if 0 < splits.get(name, 0) < FEW]
    if not few:
        return ""
    named = " and ".join(f"{splits[name]} {name}" for name in few)
    best = ", and which step is best by them is chance" if "val" in few else ""
    told = f"{named} of {sum(splits.values())} {what}: the Dice of fewer than {FEW} says little{best}; label more"
    if not advise_folds:
        return told
    if of_folders and what == GROUPS:
        told += ", set data.groups=none if the folders are no patients"
    most = min(5, splits.get("train", 0) + splits.get("val", 0))  # a test that a table sets apart is in no fold
    return told + (f", or train with data.folds={most}, whose runs test each image once" if most >= 3 else "")


def numbered_in_words(names: Iterable[str]) -> str:
    """One line where most names differ from others by their last number alone, as those of one patient's slices may.

    "" where fewer than three beginnings have several names each, as of a list numbered throughout (img_1 to img_100).

    Args:
      names: of images, each of which is divided by itself; folders in them say nothing.
    """
    sets: dict[str, list[str]] = defaultdict(list)
    names = list(names)
    for name in names:
        if number := _LAST_NUMBER.search(last := name.rpartition("/")[2]):
            sets[last[: number.start()]].append(name)
    several = [own for own in sets.values() if len(own) > 1]
    if len(several) < 3 or 2 * sum(map(len, several)) <= len(names):
        return ""
    return (
        f"most names differ from others by their last number alone, such as {several[0][0]} and {several[0][1]}, and "
        "are divided one by one: if these are of one patient, put each patient's images into a folder, or write a "
        "splits.csv with a column group"
    )


def shared_pictures(facts: Mapping[str, Mapping[str, PairFacts]]) -> str:
    """One line on images that are in more than one split, to the pixel; "" where none is.

    Masks are not compared: two annotations of one image tell of each other. Nor are images of one value.

    Args:
      facts: for each split those of its pairs by name.
    """
    places: dict[bytes, dict[str, str]] = {}
    for split, own in facts.items():
        for name, one in own.items():
            if one.levels > 1:
                places.setdefault(one.picture, {}).setdefault(split, name)
    shared = [splits for splits in places.values() if len(splits) > 1]
    if not shared:
        return ""
    return shared_in_words(len(shared), " = ".join(f"{name} of {split}" for split, name in shared[0].items()))


def shared_in_words(number: int, example: str = "", of_folder: bool = True) -> str:
    """One line on so many images that are in more than one split; only that of a folder stands in a splits.csv."""
    return (
        f"{quantity(number, 'image is', 'images are')} in more than one split{example and ', such as '}{example}: "
        f"scores there are too good. Leave one of each out{', or give both one group in splits.csv' * of_folder}"
    )


def unseen_classes(facts: Mapping[str, Iterable[PairFacts]], labels: Labels) -> str:
    """One line on the classes that no image of a split shows; "" where each has all, or no image.

    Nor of empty masks alone, which `ddim_jax.data.preflight.describe` tells of.

    Args:
      facts: for each split those of its pairs.
      labels: the classes.
    """
    facts = {split: list(own) for split, own in facts.items()}
    if not any(one.values for own in facts.values() for one in own):
        return ""
    told = []
    for split, own in facts.items():
        values = [one.values for one in own]
        missing = [name for k, name in enumerate(labels.class_names, 1) if not any(k in seen for seen in values)]
        if values and missing:
            told.append(f"no image of {split} has {', '.join(missing[:10])}")
    return "; ".join(told) and f"{'; '.join(told)}: give each split some in a splits.csv"

"""The table of the split of a folder: its place, the fit of its lines to the pairs that are there, and writing one."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from absl import logging

from ddim_jax.data.sources import data_error, same_name
from ddim_jax.data.tables import SPELLINGS, SplitTable, write_split
from ddim_jax.imageio.images import image_suffixes, suffix_of
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.once import say_once
from ddim_jax.runtime.values import quantity

_NAME = "splits.csv"


def find_table(root: Path, cache_dir: Path) -> Path | None:
    """The table of the split of `root`, beside the images (in any case) or in the cache; None where there is none.

    Raises:
      DataError: something that is no file has its name, such as a link to a disk that is away: a split that was drawn
        anew would train on test images.
    """
    for path in _places(root, cache_dir):
        if path.is_file():
            return path
        if os.path.lexists(path):
            what = f"a link to {os.readlink(path)}, which is not there" if path.is_symlink() else "no file"
            raise DataError(
                f"{path} is {what}. Bring it back, or remove it: a split drawn anew would train on test images."
            )
    return None


def _places(root: Path, cache_dir: Path) -> tuple[Path, Path]:
    place = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    names = sorted(entry.name for entry in root.iterdir() if entry.name.casefold() == _NAME) if root.is_dir() else []
    beside = root / (_NAME if _NAME in names or not names else names[0])
    return beside, cache_dir / "splits" / f"{root.resolve().name}-{place}.csv"


def say_unread(root: Path, table: Path | None) -> None:
    """Logs the files of `root` that are called as if they held its split, and are not the `table` that is read."""
    names = [
        entry.name
        for entry in sorted(root.iterdir())
        if entry != table
        and entry.name.casefold().startswith(("split", *SPELLINGS))
        and entry.suffix.casefold() in (".csv", ".tsv", ".xlsx", ".txt")
    ]
    if names:
        how = "a split is read from splits.csv alone, with the columns stem and split"
        say_once(logging.warning, f"{root}: not read: {', '.join(names[:10])}; {how}")


def called_after(ids: Iterable[str]) -> dict[str, str]:
    """The split that the first folder of each pair is called after; "" for none."""
    return {name: SPELLINGS.get(name.partition("/")[0].casefold() if "/" in name else "", "") for name in ids}


def split_of_folders(root: Path, ids: Sequence[str]) -> dict[str, str]:
    """The split of each pair by its first folder, where these are called after two splits or more; else {}.

    Raises:
      DataError: a folder is called after a split, and others are not: drawn anew, images of a test would be trained on.
    """
    split = called_after(ids)
    found = set(split.values())
    if "" not in found:
        return split if len(found) > 1 else {}
    if named := sorted((name for name in ids if split[name]), key=lambda name: split[name] == "train"):
        example, other = named[0], next(name for name in ids if not split[name])
        raise DataError(
            f"{root}: images/{example.partition('/')[0]} is called after a split, and other images are in no such "
            f"folder, such as {other}. Move all into train, val and test below images/ and masks/, rename that folder, "
            f"or write splits.csv with a line for each image: stem,split, then {example},{split[example]} and so on"
        )
    return {}


def fitted(path: Path, table: SplitTable, ids: Sequence[str]) -> SplitTable:
    """The table by the names of the pairs; a stem may be written with the suffix of its file, blanks around it, other
    case or the slashes of Windows. The name of a volume or of a first folder stands for all of its pairs.

    Raises:
      DataError: lines have no pair, or there are none.
    """
    exact, loose = {same_name(name): name for name in ids}, {}
    for name in ids:  # None where several names differ by blanks alone
        key = same_name(name).strip()
        loose[key] = None if key in loose else name
    wholes: dict[str, list[str]] = {}
    for name in ids:
        for whole in {name.partition("/")[0], name.rpartition("#")[0]} - {"", name}:
            wholes.setdefault(same_name(whole).strip(), []).append(name)
    suffixes = image_suffixes()

    def pairs_of(stem: str) -> list[str]:
        for text in (stem, stem.replace("\\", "/")):
            bare = text.strip()
            bare = bare.removesuffix(suffix_of(bare, suffixes)) if bare.lower().endswith(suffixes) else text
            for key in (same_name(text), same_name(bare)):
                if name := exact.get(key) or loose.get(key.strip()):
                    return [name]
                if key.strip() in wholes:
                    return wholes[key.strip()]
        return []

    stems = list(dict.fromkeys([*table.split, *table.group, *table.fold]))
    if not stems:
        raise DataError(
            f"{path} has a header and no rows; expected one row for each image, the first for {ids[0]}, or no file: "
            "then a split is drawn."
        )
    found, problems = {}, []
    for stem in stems:
        names = pairs_of(stem)
        if not names:
            problems.append(f"{stem} has a line, but there is no such pair")
        elif twice := next((name for name in names if name in found), None):
            problems.append(f"{stem} and {found[twice]} are both lines of {twice}")
        found |= dict.fromkeys(names, stem)
    if problems:
        raise data_error(
            f"{path} does not fit the folder, whose pairs are called such as {ids[0]} "
            f"({quantity(len(problems), 'difference')}; mend it, or delete it to draw a new split):",
            problems,
        )
    split, group, fold = (
        {name: column[stem] for name, stem in found.items() if stem in column}
        for column in (table.split, table.group, table.fold)
    )
    return table._replace(split=split, group=group, fold=fold)


def check_groups(path: Path, split: Mapping[str, str], group: Mapping[str, str]) -> None:
    """Refuses a table that divides a group.

    Args:
      path: of the table, for the message.
      split: of each pair, or its fold.
      group: of each pair; {} where there are none.

    Raises:
      DataError: names the groups that are in several splits, up to ten.
    """
    splits: dict[str, set[str]] = {}
    for name, one in group.items():
        if name in split:
            splits.setdefault(one, set()).add(split[name])
    problems = [f"{one} is in {' and in '.join(sorted(s))}" for one, s in sorted(splits.items()) if len(s) > 1]
    if problems:
        told = quantity(len(problems), "group is", "groups are")
        raise data_error(f"{path}: {told} in several splits; expected each in one:", problems)


def write_drawn(root: Path, cache_dir: Path, split: Mapping[str, str], group: Mapping[str, str], seed: int) -> Path:
    """Writes a split that was drawn by `seed` beside the images or, where that cannot be, into the cache.

    Returns:
      The file.

    Raises:
      DataError: it can be written in neither place.
    """
    beside, cached = _places(root, cache_dir)
    try:
        write_split(beside, split, group_column(split, group), seed)
        return beside
    except OSError as error:
        try:
            write_split(cached, split, group_column(split, group), seed)
        except OSError as second:
            raise DataError(
                f"The split cannot be written to {beside} ({error.strerror}) nor to {cached} ({second.strerror}); "
                "write a splits.csv beside the data or choose cache_dir."
            ) from second
        logging.warning("%s cannot be written (%s), so the split is kept in the cache.", beside, error.strerror)
        return cached


def group_column(split: Mapping[str, str], group: Mapping[str, str]) -> dict[str, str] | None:
    """The column group of a table, None where every pair is by itself."""
    return {name: group[name] for name in split} if any(group[name] != name for name in split) else None

"""The split of a folder of pairs: drawn once by a seed, written down, and read back from then on."""

import bisect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import logging

from ddim_jax.data.folds import draw_folds, hold_out, read_folds
from ddim_jax.data.options import DataOptions
from ddim_jax.data.seeded import digest, seeded_order, seeded_split
from ddim_jax.data.sources import SPLITS
from ddim_jax.data.split_files import check_groups, find_table, fitted, group_column, write_drawn
from ddim_jax.data.tables import read_split, write_split
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.once import say_once
from ddim_jax.runtime.values import first_names, quantity

FEW = 9
"""Below so many images a split says little; `evaluate --calibrate` takes no fewer either."""

GROUPS = "groups of images (patients, folders, volumes)"
"""Images that are not drawn one by one, in words."""


class Division(NamedTuple):
    """The splits of the pairs of a folder.

    Attributes:
      split: of each pair that is in one.
      fold: of each pair that is in one, 0 ..; {} without folds.
      group: of each pair: its own name, where it is by itself.
      unwritten: where the split is still to be written; None if it stands there, or is a fold.
      rule: that made it, in words: "drawn by seed 0".
    """

    split: dict[str, str]
    fold: dict[str, int]
    group: dict[str, str]
    unwritten: "_Unwritten | None" = None
    rule: str = ""

    def numbers(self) -> tuple[dict[str, int], str]:
        """Counts the images of each split, or groups where there are any; and says which, "images" or "groups"."""
        of_group = {(self.group[name], one) for name, one in self.split.items()}
        what = "images" if len(of_group) == len(self.split) else GROUPS
        return {split: sum(one == split for _, one in of_group) for split in SPLITS}, what

    def keep(self) -> None:
        """Writes a split that was drawn, or images that joined one, where it is read from next time; logs where.

        Raises:
          DataError: a drawn one can be written nowhere, or another one stands there by now.
        """
        if self.unwritten is not None:
            self.unwritten.write(self.split, self.group)

    def write(self, path: Path) -> None:
        """Writes the table of splits, groups and folds; as splits.csv of the folder it gives the same ones again."""
        write_split(path, self.split, group_column(self.split, self.group), fold=self.fold or None)


class _Unwritten(NamedTuple):
    """A split that was drawn by `seed`, and for how many pairs `new` since it was written to `table` (None: it was
    not)."""

    root: Path
    cache_dir: Path
    seed: int
    table: Path | None = None
    new: int = 0

    def write(self, split: Mapping[str, str], group: Mapping[str, str]) -> None:
        if self.table is None:
            if (there := find_table(self.root, self.cache_dir)) is not None:
                if read_split(there).split != split:
                    raise DataError(
                        f"{there}: another split was written there meanwhile; start the same command again."
                    )
                return
            path = write_drawn(self.root, self.cache_dir, split, group, self.seed)
            say_once(logging.info, f"The split of {self.root} is written to {path}")
            return
        try:
            write_split(self.table, split, group_column(split, group), self.seed)
            logging.warning("%s added to %s", quantity(self.new, "pair"), self.table)
        except OSError as error:
            text = "%s not added to %s (%s), and taken in the same way next time"
            logging.warning(text, quantity(self.new, "pair"), self.table, error.strerror)


def divide(options: DataOptions, ids: Sequence[str], groups: Mapping[str, str] | None = None) -> Division:
    """The split of a folder of pairs: its splits.csv, or one drawn by a seed (8:1:1) once and written down.

    A drawn split goes to splits.csv of the folder or, where that cannot be written, into `cache_dir`. Images that
    come to a drawn split later are added to it: a group that it does not know takes the split of the next one in the
    seed's order. A table that somebody made stays as it is, and images that it leaves out are in no split. The log
    says all of that.

    Of a cross-validation the held out fold is the test split, the next one the validation; where somebody's table has
    test images, these and no others stay it, and the fold is the validation. The folds are those of the column fold
    where the table has one, whose test images in no fold stay the test. Nothing is written into the folder; a
    training writes what it used into its run.

    Args:
      options: with root, seed, cache_dir, folds and fold; with read_only nothing is written, and `Division.keep` does
        it later.
      ids: the names of the pairs.
      groups: the group of each (a patient); pairs of one group are in one split. A column group of the table goes
        before, and may call them otherwise. None: each pair for itself.

    Raises:
      DataError: splits.csv does not fit the folder (each name is given, up to ten) or is a link to nothing, or there
        are too few groups.
    """
    root, seed, cache_dir, folds, fold = options.root, options.seed, options.cache_dir, options.folds, options.fold
    path = find_table(root, cache_dir)
    table = None if path is None else fitted(path, read_split(path), ids)
    group = _group_of(ids, groups or {}, {} if table is None else table.group)
    if table is not None and not table.split and not folds:
        column = "fold" if table.fold else "group"
        raise DataError(f"{path}: has a column {column} and no column split, which only data.folds can do without.")
    if table is not None and table.passed_over:
        say_once(logging.warning, f"{path}: the columns {', '.join(table.passed_over)} are not read")
    if table is not None and table.fold and folds:
        number = read_folds(path, table, folds)
        check_groups(path, {name: f"fold {one}" for name, one in number.items()}, group if table.group else {})
        _say_left_out(path, table.fold, ids)
        split = hold_out(table.fold, number, folds, fold)
        _told(root, f"fold {fold} of {folds} by {path}", split, group)
        return Division(split, number, group, rule=f"fold {fold} of {folds} by splits.csv")
    of_user = {} if table is None or table.seed is not None else table.split
    if table is not None and (of_user or not folds):
        check_groups(path, table.split, group if table.group else {})
    if of_user:
        _say_left_out(path, of_user, ids)
    if folds:
        used = of_user or ids
        number = draw_folds({name: group[name] for name in used if of_user.get(name) != "test"}, folds, seed)
        split = hold_out(used, number, folds, fold)
        rule = f"fold {fold} of {folds} by seed {seed}"
        _told(root, rule, split, group)
        return Division(split, number, group, rule=rule)
    if table is None:
        split, unwritten = _drawn(root, group, seed), _Unwritten(root, cache_dir, seed)
        how = f"no splits.csv, drawn by seed {seed}"
    else:
        split, unwritten, how = dict(table.split), None, f"read from {path}"
        if table.seed is not None and (new := [name for name in ids if name not in table.split]):
            split |= _joined(table.split, new, group, table.seed)
            if not table.fold and not table.passed_over:  # which would be lost
                unwritten = _Unwritten(root, cache_dir, table.seed, path, len(new))
            counts = _counts(split[name] for name in new)
            came = quantity(len(new), "pair")
            say_once(logging.warning, f"{came} came to {root} since its split was drawn: {counts}")
    by = seed if table is None else table.seed
    rule = "by splits.csv" if by is None else f"drawn by seed {by}"
    division = Division(split, {}, group, unwritten, rule)
    if not options.read_only:
        division.keep()
        division = division._replace(unwritten=None)
    _told(root, how, split, group)
    return division


def _group_of(ids: Sequence[str], groups: Mapping[str, str], of_table: Mapping[str, str]) -> dict[str, str]:
    """The group of each pair: that of the table, where one that it does not know has that of its like, or its own."""
    called = {}
    for name in ids:
        if of_table.get(name) and name in groups:
            called.setdefault(groups[name], of_table[name])
    new = {name: called.get(group, group) for name, group in groups.items() if name not in of_table}
    return {name: of_table.get(name) or new.get(name) or groups.get(name) or name for name in ids}


def _drawn(root: Path, group: Mapping[str, str], seed: int) -> dict[str, str]:
    names = set(group.values())
    if len(names) < 3 <= len(group):
        raise DataError(
            f"{root}: the {len(group)} pairs are of {quantity(len(names), 'group')} (folders below images/, or "
            "patients that the files name), which stay together; a split needs at least 3. Set data.groups=none if the "
            "folders are no patients, or write a splits.csv."
        )
    of_groups = seeded_split(names, seed)
    return {name: of_groups[group[name]] for name in group}


def _joined(split: Mapping[str, str], new: Iterable[str], group: Mapping[str, str], seed: int) -> dict[str, str]:
    """The splits of new pairs: that of their group, or of the group that follows theirs in the order of the seed."""
    of_group = {group[name]: split[name] for name in split}
    order = seeded_order(of_group, seed)
    digests = [digest(name, seed) for name in order]

    def of_new(name: str) -> str:
        after = bisect.bisect(digests, digest(group[name], seed))
        return of_group.get(group[name]) or of_group[order[min(after, len(order) - 1)]]

    return {name: of_new(name) for name in new}


def _say_left_out(path: Path, used: Mapping[str, str], ids: Sequence[str]) -> None:
    if new := [name for name in ids if name not in used]:
        some = first_names(new)
        say_once(logging.warning, f"{path} leaves out {len(new)} of {len(ids)} pairs, which are not used: {some}")


def _told(root: Path, how: str, split: Mapping[str, str], group: Mapping[str, str]) -> None:
    """Logs the numbers of pairs, and of groups where there are any; a group may be called after a patient."""
    text = f"Split of {root} ({how}): {_counts(split.values())}"
    of_group = {(group[name], one) for name, one in split.items()}
    if any(group[name] != name for name in split):
        names = {name for name, _ in of_group}
        text += f"; {quantity(len(names), 'group')} of pairs: {_counts(one for _, one in of_group)}"
        if several := len(of_group) - len(names):
            say_once(
                logging.warning,
                f"{root}: {several} of {len(names)} groups of pairs (folders below images/) have images in more than "
                "one split. If they are patients, the test images are not new to the network; if not, set "
                "data.groups=none.",
            )
    say_once(logging.info, text)


def few_in_words(splits: Mapping[str, int], what: str = "images", folds: int = 0) -> str:
    """One line on validation and test splits of fewer than `FEW`; "" if both have more.

    An empty split is not told of: a folder may have been divided like that on purpose.

    Args:
      splits: the number in each split.
      what: it is the number of.
      folds: of the cross-validation that it is a part of; 0 for none, which is then advised.
    """
    few = [name for name in ("val", "test") if 0 < splits.get(name, 0) < FEW]
    if not few:
        return ""
    named = " and ".join(f"{splits[name]} {name}" for name in few)
    best = ", and which step is best by them is chance" if "val" in few else ""
    return f"{named} of {sum(splits.values())} {what}: the Dice of fewer than {FEW} says little{best}; label more" + (
        "" if folds else ", or train with data.folds=5, whose runs test each image once"
    )


def _counts(splits: Iterable[str]) -> str:
    splits = list(splits)
    return ", ".join(f"{splits.count(name)} {name}" for name in SPLITS)

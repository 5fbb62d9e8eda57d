"""The split of a folder of pairs: drawn once by a seed, written down, and read back from then on."""

import bisect
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from absl import logging

from ddim_jax.data.division import GROUPS, Division, Unwritten
from ddim_jax.data.folds import draw_folds, hold_out, read_folds
from ddim_jax.data.groups import why_so_few
from ddim_jax.data.options import DataOptions
from ddim_jax.data.seeded import digest, seeded_order, seeded_split
from ddim_jax.data.sources import SPLITS
from ddim_jax.data.split_files import called_after, check_groups, find_table, fitted, say_unread, split_of_folders
from ddim_jax.data.split_warnings import numbered_in_words
from ddim_jax.data.tables import SplitTable, read_split
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.once import say_once
from ddim_jax.runtime.values import first_names, quantity

_OF_PATIENTS = re.compile(r"(patient|subject)s?([\W_]*(id\w*|n[or]|num\w*|name|key|code|index|uid))?$")
"""Names of columns that say which patient an image is of, and none of what he is, such as patient_age."""


def divide(
    options: DataOptions,
    ids: Sequence[str],
    groups: Mapping[str, str] | None = None,
    apart: Mapping[str, str] | None = None,
) -> Division:
    """The split of a folder of pairs: its splits.csv, or one drawn by a seed (8:1:1) once and written down.

    Where there is no table and all first folders are called after splits (train, val, test), these are the split.
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
      apart: the group of each with data.groups=none, for what is advised. None: as `groups`.

    Raises:
      DataError: splits.csv does not fit the folder (each name is given, up to ten) or is a link to nothing, there are
        too few groups, or some first folders are called after splits and others are not.
    """
    root, groups = options.root, groups or {}
    path = find_table(root, options.cache_dir)
    # Folders called after splits are as a table that somebody made.
    table = SplitTable(split_of_folders(root, ids), {}) if path is None else fitted(path, read_split(path), ids)
    if path is not None and not table.split and not options.folds:
        column = "fold" if table.fold else "group"
        raise DataError(
            f"{path}: has a column {column} and no column split, which only data.folds can do without. Add it, with "
            "train, val or test in each line; of a folder that is only evaluated, with test in each."
        )
    if table.passed_over:
        say_once(logging.warning, f"{path}: {_unread(table)}")
    if path is None or table.is_drawn:
        say_unread(root, path)
    differs = ""
    if table.is_drawn:
        _check_joining(root, path, table, ids)
        differs = _drawn_otherwise(options, path, table, groups)
    group = _group_of(ids, groups, {} if options.folds and differs else table.group)
    apart = group if table.group and not table.is_drawn else _group_of(ids, groups if apart is None else apart, {})
    if options.folds and table.fold:
        division = _fold_of_table(options, path, table, group)
    elif options.folds:
        division = _fold_drawn(options, path, table, group, apart)
    else:
        division = _split(options, path, table, group, apart)
        if table.is_drawn and table.seed != options.seed:
            differs = f"{path}: was drawn by seed {table.seed}, and data.split_seed is {options.seed}"
        division = division._replace(differs=differs)
    more_apart = len(set(apart.values())) > len(set(group.values()))
    division = division._replace(of_folders=options.groups == "folder" and more_apart)
    _say_left_out(path, division.split, ids)
    if not options.read_only:
        division.keep()
        division = division._replace(unwritten=None)
    _told(f"{root} ({division.rule}{'' if path is None else f'; {path}'})", root, division)
    return division


def _fold_of_table(options: DataOptions, path: Path, table: SplitTable, group: dict[str, str]) -> Division:
    """The division by the column fold of a table."""
    number = read_folds(path, table, options.folds)
    check_groups(path, {name: f"fold {one}" for name, one in number.items()}, group if table.group else {})
    split = hold_out(table.fold, number, options.folds, options.fold)
    return Division(split, number, group, rule=f"fold {options.fold} of {options.folds} by {path.name}")


def _fold_drawn(
    options: DataOptions, path: Path | None, table: SplitTable, group: dict[str, str], apart: Mapping[str, str]
) -> Division:
    """The division by drawn folds of the pairs of somebody's table but for its test images, or of all pairs."""
    of_user = {} if table.is_drawn else table.split
    if of_user and table.group:
        check_groups(path, of_user, group)
    used = of_user or group
    drawn = {name: group[name] for name in used if of_user.get(name) != "test"}
    of_table = table.group and not table.is_drawn
    why = f"The groups are those of {path}." if of_table else why_so_few(drawn, apart)
    number = draw_folds(drawn, options.folds, options.seed, why)
    _say_numbered(options.root, drawn)
    split = hold_out(used, number, options.folds, options.fold)
    return Division(split, number, group, rule=f"fold {options.fold} of {options.folds} by seed {options.seed}")


def _split(
    options: DataOptions, path: Path | None, table: SplitTable, group: dict[str, str], apart: Mapping[str, str]
) -> Division:
    """The division into three by a table, by folders called after splits, or by a draw."""
    root, seed, cache_dir = options.root, options.seed, options.cache_dir
    if not table.split:
        unwritten = Unwritten(root, cache_dir, seed)
        split = _drawn(root, group, apart, seed)
        _say_numbered(root, group)
        return Division(split, {}, group, unwritten, f"drawn by seed {seed}")
    if table.group:
        check_groups(path, table.split, group)
    if not table.is_drawn:
        rule = "by the folders below images/" if path is None else f"by {path.name}"
        return Division(table.split, {}, group, rule=rule)
    split, unwritten = dict(table.split), None
    if new := [name for name in group if name not in split]:
        split |= _joined(table.split, new, group, table.seed)
        if not table.fold and not table.passed_over:  # which would be lost
            unwritten = Unwritten(root, cache_dir, table.seed, path, len(new))
        came = quantity(len(new), "pair")
        counts = _counts(split[name] for name in new)
        say_once(logging.warning, f"{came} came to {root} since its split was drawn: {counts}")
    return Division(split, {}, group, unwritten, f"drawn by seed {table.seed}")


def _check_joining(root: Path, path: Path, table: SplitTable, ids: Iterable[str]) -> None:
    """Refuses pairs that came to a drawn split in a folder called after one: some would be trained on."""
    late = [name for name, split in called_after(ids).items() if split in ("val", "test") and name not in table.split]
    if late:
        raise DataError(
            f"{root}: {quantity(len(late), 'pair')} came since {path} was drawn in a folder called after a split, such "
            f"as {late[0]}, and would be divided among all three. Rename that folder, or move all images into train, "
            f"val and test below images/ and masks/ and remove {path.name}; keep a copy of it"
        )


def _drawn_otherwise(options: DataOptions, path: Path, table: SplitTable, groups: Mapping[str, str]) -> str:
    """The difference in words between how a table was drawn and what is asked for; "" for none."""
    if len(splits := set(called_after(table.split).values())) > 1 and "" not in splits:
        return (
            f"{path}: was drawn of images in folders called after splits, which are the split where there is no table"
        )
    divided, of_asked = defaultdict(set), defaultdict(set)
    for name, split in table.split.items():
        asked = groups.get(name) or name
        divided[asked].add(split)
        of_asked[table.group.get(name) or name].add(asked)
    images = "images of one group (patient, folder, volume)"
    if any(len(splits) > 1 for splits in divided.values()):
        return (
            f"{path}: was drawn with {images} in several splits, and data.groups={options.groups} keeps them together"
        )
    if options.groups == "none" and any(len(asked) > 1 for asked in of_asked.values()):
        return f"{path}: was drawn with {images} together, and data.groups=none keeps those of a folder apart"
    return ""


def _group_of(ids: Sequence[str], groups: Mapping[str, str], of_table: Mapping[str, str]) -> dict[str, str]:
    """The group of each pair: that of the table, where one that it does not know has that of its like, or its own."""
    called = {}
    for name in ids:
        if of_table.get(name) and name in groups:
            called.setdefault(groups[name], of_table[name])
    new = {name: called.get(group, group) for name, group in groups.items() if name not in of_table}
    return {name: of_table.get(name) or new.get(name) or groups.get(name) or name for name in ids}


def _drawn(root: Path, group: Mapping[str, str], apart: Mapping[str, str], seed: int) -> dict[str, str]:
    names = set(group.values())
    if len(names) < 3 <= len(group):
        raise DataError(
            f"{root}: the {len(group)} pairs are of {quantity(len(names), 'group')} (folders below images/, "
            "volumes, or patients that the files name), which stay together; a split needs at least 3. "
            f"{why_so_few(group, apart)}"
        )
    of_groups = seeded_split(names, seed)
    return {name: of_groups[group[name]] for name in group}


def _say_numbered(root: Path, group: Mapping[str, str]) -> None:
    if all(name == own for name, own in group.items()) and (told := numbered_in_words(group)):
        say_once(logging.warning, f"{root}: {told}")


def _joined(split: Mapping[str, str], new: Iterable[str], group: Mapping[str, str], seed: int) -> dict[str, str]:
    """The splits of new pairs: that of their group, or of the group that follows theirs in the order of the seed."""
    of_group = {group[name]: split[name] for name in split}
    order = seeded_order(of_group, seed)
    digests = [digest(name, seed) for name in order]

    def of_new(name: str) -> str:
        after = bisect.bisect(digests, digest(group[name], seed))
        return of_group.get(group[name]) or of_group[order[min(after, len(order) - 1)]]

    return {name: of_new(name) for name in new}


def _say_left_out(path: Path | None, used: Mapping[str, str], ids: Sequence[str]) -> None:
    if new := [name for name in ids if name not in used]:
        some = first_names(new)
        say_once(logging.warning, f"{path} leaves out {len(new)} of {len(ids)} pairs, which are not used: {some}")


def _unread(table: SplitTable) -> str:
    """Says that columns of a table are not read; one of patients may be what groups the images."""
    columns = table.passed_over
    told = f"the column{'s' * (len(columns) > 1)} {', '.join(columns)} {'are' if len(columns) > 1 else 'is'} not read"
    patients = [name for name in columns if _OF_PATIENTS.search(name.casefold())]
    if table.group or not patients:
        return told
    return f"{told}. Rename the column {patients[0]} to group, so that the images of a patient stay in one split"


def _told(what: str, root: Path, division: Division) -> None:
    """Logs the numbers of pairs, and of groups where there are any; a group may be called after a patient."""
    split, group = division.split, division.group
    text = f"Split of {what}: {_counts(split.values())}"
    of_group = {(group[name], one) for name, one in split.items()}
    names = {name for name, _ in of_group}
    if several := [name for name, count in Counter(name for name, _ in of_group).items() if count > 1]:
        way_out = " If the folders are no patients, set data.groups=none." if division.of_folders else ""
        say_once(
            logging.warning,
            f"{root}: {len(several)} of {len(names)} {GROUPS} have images in more than one split: the test images are "
            f"not new to the network.{way_out}",
        )
    elif any(group[name] != name for name in split):
        text += f"; {quantity(len(names), 'group')} of pairs: {_counts(one for _, one in of_group)}"
    say_once(logging.info, text)


def _counts(splits: Iterable[str]) -> str:
    splits = list(splits)
    return ", ".join(f"{splits.count(name)} {name}" for name in SPLITS)

"""The split of a data set: drawn once by a seed, written down, and read back from then on."""

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from absl import logging

from ddim_jax.data.sources import SPLITS, data_error
from ddim_jax.imageio.images import image_suffixes
from ddim_jax.runtime.atomic import write_text
from ddim_jax.runtime.errors import DataError

_SPELLINGS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def seeded_order(ids: Iterable[str], seed: int) -> list[str]:
    """Shuffles names by the SHA-256 of seed and name: the same on every machine, and where a name stands among the
    others does not change when names are added."""
    return sorted(ids, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())


def seeded_split(ids: Iterable[str], seed: int, groups: Mapping[str, str] | None = None) -> dict[str, str]:
    """Splits names 8:1:1 into train, val and test.

    Args:
      ids: the names.
      seed: another seed gives another split.
      groups: a class for each name; val and test get a tenth of each class (rounded down), train what is left. Without
        it all names are one class.

    Returns:
      The split of each name. Val and test have at least one name each.

    Raises:
      DataError: fewer than three names.
    """
    ordered = seeded_order(ids, seed)
    if len(ordered) < 3:
        raise DataError(f"{len(ordered)} pairs cannot be split into train, val and test; expected at least 3.")
    members: dict[str, list[str]] = {}
    for name in ordered:
        members.setdefault(groups[name] if groups else "", []).append(name)
    split = dict.fromkeys(ordered, "train")
    if all(len(names) < 10 for names in members.values()):
        members = {"": ordered}
    for names in members.values():
        tenth = len(names) // 10 if len(ordered) >= 10 else 1
        split.update(dict.fromkeys(names[:tenth], "val"))
        split.update(dict.fromkeys(names[tenth : 2 * tenth], "test"))
    return split


def folder_split(root: Path, ids: Iterable[str], *, seed: int, cache_dir: Path) -> dict[str, str]:
    """The split of a folder of pairs: its splits.csv, or one drawn by `seed` (8:1:1) once and written down.

    A drawn split goes to `root`/splits.csv or, where that cannot be written, into `cache_dir`; the log says where.

    Raises:
      DataError: splits.csv does not fit the folder; each name is given, up to ten.
    """
    ids = list(ids)
    beside = root / "splits.csv"
    place = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    cached = cache_dir / "splits" / f"{root.resolve().name}-{place}.csv"
    for path in (beside, cached):
        if path.is_file():
            logging.info("Split of %s read from %s.", root, path)
            return _fitted(path, read_split(path), ids)
    split = seeded_split(ids, seed)
    try:
        write_split(beside, split)
        path = beside
    except OSError as error:
        try:
            write_split(cached, split)
        except OSError as second:
            raise DataError(
                f"The split cannot be written to {beside} ({error.strerror}) nor to {cached} ({second.strerror}); "
                "write a splits.csv beside the data or choose cache_dir."
            ) from second
        path = cached
        logging.warning("%s cannot be written (%s), so the split is kept in the cache.", beside, error.strerror)
    counts = ", ".join(f"{list(split.values()).count(name)} {name}" for name in SPLITS)
    logging.info("No splits.csv in %s: split by seed %d into %s, written to %s.", root, seed, counts, path)
    return split


def read_split(path: str | os.PathLike) -> dict[str, str]:
    """Reads a table with the columns stem and split (train, val or test), separated by commas or semicolons.

    Raises:
      DataError: the file cannot be read or is no such table, a column is missing, a split is unknown or a stem appears
        twice; up to ten lines are named.
    """
    rows = read_table(path)
    header = [cell.lower() for cell in rows[0]] if rows else []
    if "stem" not in header or "split" not in header:
        raise DataError(
            f"{path}: the first line is {', '.join(header) or 'empty'}; expected the columns stem and split."
        )
    split: dict[str, str] = {}
    problems = []
    for number, row in enumerate(rows[1:], start=2):
        if not any(row):
            continue
        values = dict(zip(header, row, strict=False))
        stem, name = values.get("stem", ""), values.get("split", "").lower()
        if not stem or name not in _SPELLINGS:
            problems.append(f"line {number}: stem {stem!r}, split {name!r}; expected train, val or test")
        elif stem in split:
            problems.append(f"line {number}: {stem} appears a second time")
        else:
            split[stem] = _SPELLINGS[name]
    if problems:
        raise data_error(f"{path} has {len(problems)} lines that cannot be used:", problems)
    return split


def read_table(path: str | os.PathLike) -> list[list[str]]:
    """The rows of a UTF-8 table separated by commas or semicolons, without spaces around the cells.

    Raises:
      DataError: the file cannot be read or is no such table.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            text = file.read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; save the table as UTF-8.") from error
    delimiter = ";" if ";" in text.partition("\n")[0] else ","
    try:
        return [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, ""), delimiter=delimiter)]
    except csv.Error as error:
        raise DataError(f"{path}: is not a table separated by commas or semicolons ({error}).") from error


def write_split(path: str | os.PathLike, split: Mapping[str, str]) -> None:
    """Writes the table `read_split` reads, sorted by stem, atomically."""
    rows = sorted(split.items())
    if any(character in stem for stem, _ in rows for character in ',"\r\n'):
        rows = [('"' + stem.replace('"', '""') + '"', name) for stem, name in rows]
    write_text(path, "".join(f"{stem},{name}\n" for stem, name in [("stem", "split"), *rows]))


def _fitted(path: Path, split: dict[str, str], ids: list[str]) -> dict[str, str]:
    """The table's rows for `ids`; a stem may be written with the suffix of its file."""
    unused = dict(split)
    fitted, problems = {}, []
    suffixes = image_suffixes()
    by_stem = {os.path.splitext(stem)[0]: stem for stem in split if stem.lower().endswith(suffixes)}
    for name in ids:
        stem = name if name in split else by_stem.get(name, name)
        if stem in unused:
            fitted[name] = unused.pop(stem)
        else:
            problems.append(f"{name} has no line in it")
    problems += [f"{stem} has a line, but there is no such pair" for stem in unused]
    if problems:
        raise data_error(
            f"{path} does not fit the folder ({len(problems)} differences; mend it, or delete it to draw a new split):",
            problems,
        )
    return fitted

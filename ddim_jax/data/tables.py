"""splits.csv: the table of a folder, as this package writes it and as spreadsheets save it."""

import codecs
import csv
import io
import os
import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from ddim_jax.data.sources import data_error
from ddim_jax.runtime.atomic import write_text
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import quantity

SPELLINGS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""The split that each spelling in a table, or of a folder's name, stands for."""
_READ = ("split", "group", "seed", "fold")
_DELIMITERS = ",;\t"
_LONGEST_HEADER = 2**16


class SplitTable(NamedTuple):
    """The content of a splits.csv.

    Attributes:
      split: train, val or test for each stem; {} where the table has no such column.
      group: the group of each stem, "" for none; {} where the table has no such column.
      seed: of the draw that the table was written by; None for a table that somebody made.
      fold: what the column says of each stem, "" for none; {} where the table has no such column.
      passed_over: the names of the columns that are not read.
    """

    split: dict[str, str]
    group: dict[str, str]
    seed: int | None = None
    fold: Mapping[str, str] = MappingProxyType({})
    passed_over: tuple[str, ...] = ()

    @property
    def is_drawn(self) -> bool:
        """True of a table that this package wrote of a split it drew."""
        return self.seed is not None


def read_split(path: str | os.PathLike) -> SplitTable:
    """Reads a table with the column stem and one or more of split (train, val or test), group and fold (`read_table`).

    Raises:
      DataError: the file cannot be read or is no such table, a column is missing, a split is unknown or a stem appears
        twice; up to ten lines are named.
    """
    rows = read_table(path)
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if "stem" not in header or not {"split", "group", "fold"} & set(header):
        raise DataError(
            f"{path}: the first line is {', '.join(header) or 'empty'}; expected the columns stem and split."
        )
    found: dict[str, dict[str, str]] = {name: {} for name in _READ}
    problems, known = [], set()
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        values = dict(zip(header, row, strict=False))
        # A blank at the end of a file's name belongs to it.
        stem, split = values.get("stem", ""), values.get("split", "").strip().lower()
        if not stem.strip() or ("split" in header and split not in SPELLINGS):
            problems.append(f"line {number}: stem {stem!r}, split {split!r}; expected train, val or test")
            continue
        if unicodedata.normalize("NFC", stem) in known:
            problems.append(f"line {number}: {stem} appears a second time")
        known.add(unicodedata.normalize("NFC", stem))
        found["split"][stem] = SPELLINGS.get(split, "")
        found["group"][stem] = values.get("group", "").strip()
        found["fold"][stem] = values.get("fold", "").strip()
        if seed := values.get("seed", "").strip():
            found["seed"][stem] = seed
    seeds = set(found["seed"].values())
    if len(seeds) > 1 or not all(seed.isascii() and seed.isdigit() for seed in seeds):
        problems.append(f"the column seed holds {', '.join(sorted(seeds)[:10])}; expected one whole number")
    if problems:
        raise data_error(f"{path} has {quantity(len(problems), 'line')} that cannot be used:", problems)
    return SplitTable(
        found["split"] if "split" in header else {},
        found["group"] if "group" in header else {},
        int(seeds.pop()) if seeds else None,
        found["fold"] if "fold" in header else {},
        tuple(name for name in header if name and name not in ("stem", *_READ)),
    )


def read_table(path: str | os.PathLike) -> list[list[str]]:
    """The rows of a table, the header first, each cell as it stands there.

    Read is what spreadsheets save: UTF-8, with a byte order mark or without, or UTF-16 with one; commas, semicolons or
    tabs between the cells (whatever gives the header most of them, or a first line `sep=;` says); empty lines before
    the header.

    Raises:
      DataError: the file cannot be read or is no such table.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not {error.encoding.upper()}; save it as UTF-8.") from error
    text = text.lstrip("\r\n")
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep=") and len(first.rstrip("\r")) == 5:
        delimiter, text = first[4], rest
    else:
        delimiter = max(_DELIMITERS, key=first[:_LONGEST_HEADER].count)
    try:
        return list(csv.reader(io.StringIO(text, ""), delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{path}: is not a table separated by commas, semicolons or tabs ({error}).") from error


def write_split(
    path: str | os.PathLike,
    split: Mapping[str, str],
    group: Mapping[str, str] | None = None,
    seed: int | None = None,
    fold: Mapping[str, int] | None = None,
) -> None:
    """Writes the table that `read_split` reads, sorted by stem, atomically; where `path` is a link, to what it names.

    Args:
      split: of each stem.
      group: of each stem; None for no such column.
      seed: that it was drawn by; None for no such column.
      fold: of the stems that are in one; None for no such column.
    """
    columns = {"split": split}
    columns |= {} if group is None else {"group": group}
    columns |= {} if seed is None else {"seed": dict.fromkeys(split, str(seed))}
    columns |= {} if fold is None else {"fold": {stem: str(fold.get(stem, "")) for stem in split}}
    rows = [("stem", *columns), *((stem, *(values[stem] for values in columns.values())) for stem in sorted(split))]
    if any(character in cell for row in rows for cell in row for character in ',;\t"\r\n'):
        rows = [tuple('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
    write_text(os.path.realpath(path), "".join(",".join(row) + "\n" for row in rows))

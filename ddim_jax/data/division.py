"""The splits of the pairs of a folder, in numbers and as the table that they are kept in."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from absl import logging

from ddim_jax.data.sources import SPLITS
from ddim_jax.data.split_files import find_table, group_column, write_drawn
from ddim_jax.data.tables import read_split, write_split
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.once import say_once
from ddim_jax.runtime.values import quantity

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
      differs: the seed or the groups of a drawn table that are others than were asked for, in words; "" for none.
      of_folders: data.groups=none would give more groups, for first folders stay together.
    """

    split: dict[str, str]
    fold: dict[str, int]
    group: dict[str, str]
    unwritten: "Unwritten | None" = None
    rule: str = ""
    differs: str = ""
    of_folders: bool = False

    def numbers(self) -> tuple[dict[str, int], str]:
        """Counts the images of each split, or its groups where there are any and each is in one split.

        Returns:
          The numbers, and what they count: "images", or `GROUPS`.
        """
        of_group = {(self.group[name], one) for name, one in self.split.items()}
        if len(of_group) == len(self.split) or len(of_group) > len({name for name, _ in of_group}):
            return {split: list(self.split.values()).count(split) for split in SPLITS}, "images"
        return {split: sum(one == split for _, one in of_group) for split in SPLITS}, GROUPS

    def check_drawn(self) -> None:
        """Refuses a table that was drawn in another way than was asked for, which would be passed over in silence.

        Raises:
          DataError: the seed or the groups are others.
        """
        if self.differs:
            raise DataError(
                f"{self.differs}. Ask for the same, or remove the file for a new split; keep a copy of it: runs that "
                "were trained by it cannot be evaluated without."
            )

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


class Unwritten(NamedTuple):
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

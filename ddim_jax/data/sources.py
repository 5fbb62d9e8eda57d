"""Sources: the named pairs of a data set with random access."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from ddim_jax.imageio.images import ReadOptions, read_pair
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")
_NAMED_AT_MOST = 10


class Example(NamedTuple):
    """One pair, at the picture's own size.

    Attributes:
      id: unique within its data set, the same on every machine.
      image: uint8 [H, W, 3].
      mask: uint8 [H, W] as `ddim_jax.labels` has it: 0 background, k = 1 .. K the class, 255 ignored; with
        `labels.multilabel` bit k - 1 is class k.
    """

    id: str
    image: np.ndarray
    mask: np.ndarray


class Source(Protocol):
    """One split of a data set; `source[i]` may be called from several threads and gives the same pair every time.

    A source may also have a text `note` for readers of its results (see `note_of`).
    """

    name: str
    ids: tuple[str, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


class Pair(NamedTuple):
    """The files of one pair; `group` (a class, a modality; may be empty) is what a split is balanced over."""

    id: str
    image: Path
    mask: Path
    group: str = ""


def note_of(source: Source) -> str:
    """A remark for readers of results on `source`, such as that its split is not the official one; "" for none."""
    return getattr(source, "note", "")


class DataOptions(NamedTuple):
    """The options of a data set, from the section `data` of a config; each data set takes those that it needs.

    Attributes:
      root: the folder the files are in, None where none was given.
      seed: of a split that is drawn, and of generated pictures.
      image_size: side in pixels of generated pictures.
      cache_dir: the folder for indices, and for splits that cannot be written beside the data.
      counts: number of generated pictures in each split; None for the default.
      labels: the classes of the masks.
      reading: how pictures are read.
    """

    root: Path | None
    seed: int
    image_size: int
    cache_dir: Path
    counts: Mapping[str, int] | None
    labels: Labels = Labels()
    reading: ReadOptions = ReadOptions()

    def folder(self, name: str) -> Path:
        """`root`, for the data set `name`.

        Raises:
          ConfigError: none was given.
        """
        if self.root is None:
            raise ConfigError(f"The data set {name} needs the folder its files are in (data.root).")
        return self.root


class PairSource:
    """Pairs of files, read when asked for.

    Args:
      name: the data set's name.
      pairs: in the order of the source.
      note: see `note_of`.
      labels: the classes of the masks.
      reading: how pictures are read.
    """

    def __init__(
        self,
        name: str,
        pairs: list[Pair],
        note: str = "",
        labels: Labels = Labels(),
        reading: ReadOptions = ReadOptions(),
    ):
        self.name, self.note, self._labels, self._reading = name, note, labels, reading
        self.ids = tuple(pair.id for pair in pairs)
        self._pairs = tuple(pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Example:
        """Reads pair `index`.

        Raises:
          DataError: as `ddim_jax.imageio.images.read_pair`.
        """
        pair = self._pairs[index]
        return Example(pair.id, *read_pair(pair.image, pair.mask, self._labels, self._reading))


class Subset:
    """The chosen rows of a source, as a source."""

    def __init__(self, source: Source, rows: Sequence[int]):
        self.name, self.note = source.name, note_of(source)
        self.ids = tuple(source.ids[row] for row in rows)
        self._source, self._rows = source, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        return self._source[self._rows[index]]


def ids_digest(source: Source) -> str:
    """SHA-256 over the names of a source's pairs, in order: the same for two runs on the same pictures."""
    return hashlib.sha256("\n".join(source.ids).encode()).hexdigest()


def data_error(headline: str, problems: list[str]) -> DataError:
    """One error for many problems: up to ten by name, the rest by number."""
    lines = [headline, *(f"  {problem}" for problem in problems[:_NAMED_AT_MOST])]
    if len(problems) > _NAMED_AT_MOST:
        lines.append(f"  ... and {len(problems) - _NAMED_AT_MOST} more")
    return DataError(*lines)

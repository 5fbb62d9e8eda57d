"""Sources: the named pairs of a data set with random access."""

import contextlib
import hashlib
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np

from ddim_jax.data.masks import consensus, refuse_copy, united
from ddim_jax.imageio.images import Picture, ReadOptions, check_fits, count_pixels, log_notes, read_picture
from ddim_jax.imageio.stacks import notes_of_mask, read_mask_of, read_slice
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import DataError, failures_of
from ddim_jax.runtime.values import NAMED_AT_MOST

SPLITS = ("train", "val", "test")


class EmptySplit(DataError):
    """The data set can be read, and has no pair in the split that is asked for."""


class Unpaired(DataError):
    """Files of a folder have no partner; `pairs` are those that have, none of several annotators, a volume one pair."""

    pairs: "tuple[Pair, ...]" = ()


class Example(NamedTuple):
    """One pair, at the image's own size.

    Attributes:
      id: unique within its data set, the same on every machine.
      image: uint8 [H, W, 3].
      mask: uint8 [H, W] as `ddim_jax.labels` has it: 0 background, k = 1 .. K the class, 255 ignored; with
        `labels.multilabel` bit k - 1 is class k.
      notes: on how the image was read, as `ddim_jax.imageio.images.Picture` has them.
      annotators: uint8 [A, H, W], the mask of each of several annotators; None where there is one truth. `mask` is then
        their `consensus`.
      pixel_mm: millimetres from row to row and from column to column; None where the file does not say them.
      range: the stored values that became 0 and 255, of a file with 16 bits a channel; else None.
    """

    id: str
    image: np.ndarray
    mask: np.ndarray
    notes: tuple[str, ...] = ()
    annotators: np.ndarray | None = None
    pixel_mm: tuple[float, float] | None = None
    range: tuple[float, float] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the image and all masks."""
        return sum(array.nbytes for array in (self.image, self.mask, self.annotators) if array is not None)


class Source(Protocol):
    """One split of a data set; `source[i]` may be called from several threads and gives the same pair every time.

    A source may also have a text `note` for readers of its results (see `note_of`), `labels` (see `labels_of`), the
    number of its `annotators` (see `annotators_of`), the `groups` and the `volumes` of its pairs (see `groups_of` and
    `volumes_of`), `patients` and `trained_on` (see `patients_of`) and a method `count_pixels` (see `pixels_of`).
    """

    name: str
    ids: tuple[str, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...


class Volume(NamedTuple):
    """A file of several images, such as a NIfTI volume.

    Attributes:
      name: unique within its data set.
      slices: that it has, whichever of them are in the source.
    """

    name: str
    slices: int


class Pair(NamedTuple):
    """The files of one pair.

    Attributes:
      id: its name.
      image: the file of the image.
      mask: the file of its mask.
      stratum: a class or a modality that a split is balanced over; may be empty.
      more_masks: files of further structures of the same image, united with `mask`, and those of other annotators.
      slice: of files of several images, which of them, from 0.
      volume: which these are; None for a file of one image.
      annotators: for each of several annotators those of the masks that are theirs; () for one truth.
    """

    id: str
    image: Path
    mask: Path
    stratum: str = ""
    more_masks: tuple[Path, ...] = ()
    slice: int | None = None
    volume: Volume | None = None
    annotators: tuple[tuple[Path, ...], ...] = ()


def note_of(source: Source) -> str:
    """A remark for readers of results on `source`, such as that its split is not the official one; "" for none."""
    return getattr(source, "note", "")


def labels_of(source: Source) -> Labels:
    """The classes of the masks of a source that says them; else one class."""
    return getattr(source, "labels", Labels())


def annotators_of(source: Source) -> int:
    """The number of annotators, each of whom gave a mask of every image of the source; 0 where there is one truth."""
    return getattr(source, "annotators", 0)


def groups_of(source: Source) -> tuple[str, ...]:
    """The group of each pair of a source that says them, such as its patient; else each is one by itself."""
    return tuple(getattr(source, "groups", source.ids))


def patients_of(source: Source) -> frozenset[tuple[str, str]]:
    """The patients of a source that says them, but for those of the training split, as
    `ddim_jax.data.groups.patient_keys` has them; else none."""
    return getattr(source, "patients", frozenset())


def trained_on_of(source: Source) -> frozenset[tuple[str, str]]:
    """The patients of the training split beside a source that says them, as `patients_of`; else none."""
    return getattr(source, "trained_on", frozenset())


def volumes_of(source: Source) -> tuple[Volume | None, ...]:
    """The volume that each pair is a slice of; None for an image by itself."""
    return tuple(getattr(source, "volumes", [None] * len(source.ids)))


def pixels_of(source: Source, row: int) -> int:
    """Pixels decoded for pair `row`, as the source's `count_pixels` says; 0 of one that has its pairs in memory.

    Raises:
      DataError: a header cannot be read, or the source fails otherwise.
    """
    count = getattr(source, "count_pixels", None)
    with _failures_of(source, row):
        return 0 if count is None else count(row)


def example_of(source: Source, row: int) -> Example:
    """Pair `row`, read.

    Raises:
      DataError: it cannot be read, or the source fails otherwise; then the pair and the place are named.
    """
    with _failures_of(source, row):
        return source[row]


def _failures_of(source: Source, row: int) -> contextlib.AbstractContextManager[None]:
    return failures_of(lambda: f"{source.ids[row]}: the data set {source.name} failed")


class PairSource:
    """Pairs of files, read when asked for.

    Args:
      name: the data set's name.
      pairs: in the order of the source.
      note: see `note_of`.
      labels: the classes of the masks, `DataOptions.labels` where a data set is read as the config says.
      reading: how images are read, `DataOptions.reading` likewise.
      groups: of the id of a pair its group, see `groups_of`; a pair that is not in it is one by itself.

    Attributes:
      division: of the whole folder that it is a split of, a `ddim_jax.data.division.Division`; None for other sources.
      place: a digest of the path of that folder, by which it is told from others of its name; None likewise.
      patients, trained_on: see `patients_of` and `trained_on_of`.
    """

    division: Any = None
    place: str | None = None
    patients: frozenset[tuple[str, str]] = frozenset()
    trained_on: frozenset[tuple[str, str]] = frozenset()

    def __init__(
        self,
        name: str,
        pairs: list[Pair],
        note: str = "",
        *,
        labels: Labels,
        reading: ReadOptions,
        groups: Mapping[str, str] = MappingProxyType({}),
    ):
        self.name, self.note, self.labels, self._reading = name, note, labels, reading
        self.ids = tuple(pair.id for pair in pairs)
        self.groups = tuple(groups.get(name, name) for name in self.ids)
        self.volumes = tuple(pair.volume for pair in pairs)
        self._pairs = tuple(pairs)
        self.annotators = len(pairs[0].annotators) if pairs else 0

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Example:
        """Reads pair `index`.

        Raises:
          DataError: a file cannot be read, they do not lie on each other (`ddim_jax.imageio.images.check_fits`), or a
            mask is a copy of its image.
        """
        pair = self._pairs[index]
        files = (pair.mask, *pair.more_masks)
        if pair.slice is not None:
            picture, found = read_slice(pair.image, files, pair.slice, self._reading, self.labels)
        else:
            picture = read_picture(pair.image, self._reading)
            found = [read_mask_of(pair.image, file, self.labels) for file in files]
        log_notes(pair.image, picture.notes)
        for file in files:  # their reader logs them, once a file
            notes = notes_of_mask(pair.image, file, pair.slice or 0, self.labels)
            picture = picture._replace(notes=(*picture.notes, *notes))
        for file, mask in zip(files, found, strict=True):
            check_fits(pair.image, picture, file, mask)
            if not self.labels.by_value:
                refuse_copy(pair.image, picture.pixels, file)
        return self._example(pair, picture, dict(zip(files, found, strict=True)))

    def read_image(self, index: int) -> np.ndarray:
        """The image of pair `index` alone, uint8 [H, W, 3] as `self[index]` has it; its masks are not read.

        Raises:
          DataError: it cannot be read.
        """
        pair = self._pairs[index]
        if pair.slice is not None:
            return read_slice(pair.image, (), pair.slice, self._reading, self.labels)[0].pixels
        return read_picture(pair.image, self._reading).pixels

    def _example(self, pair: Pair, picture: Picture, masks: Mapping[Path, np.ndarray]) -> Example:
        if not pair.annotators:
            found = Example(pair.id, picture.pixels, united(masks, self.labels), picture.notes)
        else:
            of_each = [united({file: masks[file] for file in files}, self.labels) for files in pair.annotators]
            found = annotated(pair.id, picture.pixels, np.stack(of_each), self.labels, picture.notes)
        return found._replace(pixel_mm=picture.pixel_mm, range=picture.range)

    def count_pixels(self, index: int) -> int:
        """Pixels of the image and the masks of pair `index`, from their headers.

        Raises:
          DataError: a header cannot be read.
        """
        pair = self._pairs[index]
        return sum(count_pixels(file) for file in (pair.image, pair.mask, *pair.more_masks))


def annotated(
    name: str, image: np.ndarray, masks: np.ndarray, labels: Labels = Labels(), notes: tuple[str, ...] = ()
) -> Example:
    """An image uint8 [H, W, 3] with the masks of its annotators, uint8 [A, H, W]; its `mask` is their consensus."""
    return Example(name, image, consensus(masks, labels), notes, masks)


def same_name(name: str) -> str:
    """The form in which names are compared: without regard to case, composed (NFC)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def ids_digest(source: Source) -> str:
    """SHA-256 over the names of a source's pairs, in order: the same for two runs on the same images."""
    return hashlib.sha256("\n".join(source.ids).encode()).hexdigest()


def data_error(headline: str, problems: list[str]) -> DataError:
    """One error for many problems: up to ten by name, the rest by number."""
    lines = [headline, *(f"  {problem}" for problem in problems[:NAMED_AT_MOST])]
    if len(problems) > NAMED_AT_MOST:
        lines.append(f"  ... and {len(problems) - NAMED_AT_MOST} more")
    return DataError(*lines)

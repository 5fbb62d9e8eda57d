"""Sources of several images: a DICOM series, a file of several frames, a NIfTI volume."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ddim_jax.imageio.archives import on_disk
from ddim_jax.imageio.images import (
    Picture,
    ReadOptions,
    check_pixels,
    count_pixels,
    guarded_reader,
    read_image,
    read_mask,
    reader_of,
)
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import ConfigError, DataError, InputError
from ddim_jax.runtime.values import first_names

MAX_VOXELS = 2**28
"""A source with more in all is refused by its headers: 1024 slices of 512 x 512."""

FILES_KEPT = 2**16
"""Files whose facts are kept: a data set is looked through several times, for each of its splits."""
PLANES = ("sagittal", "coronal", "axial")
"""Planes of slices across left-right, front-back and height."""
ABOUT_EQUAL = 1.01
"""Sides of pixels that differ by less are the same."""


class Stack:
    """An opened source: `count` images of one size, decoded one at a time. Stacks of all formats inherit from it.

    What a file does not say is None, which is what stands here.

    Attributes:
      files: what it was read from, in the order of the slices where each has its own.
      count: number of slices, >= 1.
      shape: (H, W) of each.
      remarks: notes on all slices, as `ddim_jax.imageio.images.Picture` has them; may grow while they are read and
        written.
      white_is_low: True where the smallest value is shown white.
      area_at: "detector" where lengths are those of a projection, which are larger than the patient's.
      lies_in_space: True where each slice has a place of its own; False where they are frames in time, whose areas in
        square millimetres are not added.
      voxel_mm3: cubic millimetres of a voxel where several slices are at even distances.
      plane: of several slices, the nearest of `PLANES`.
      by_range: True where no file says black and white, so that without a window the range of the values does.
      patient, own_scale: those of `FileFacts`.
    """

    files: tuple[Path, ...]
    count: int
    shape: tuple[int, int]
    remarks: Sequence[str] = ()
    white_is_low: bool = False
    area_at: str | None = None
    lies_in_space: bool | None = None
    voxel_mm3: float | None = None
    plane: str | None = None
    by_range: bool = False
    patient: str = ""
    own_scale: Any = None

    def read(self, index: int) -> np.ndarray:
        """Slice `index` from 0, uint8 [H, W, 3]; called from several threads.

        Raises:
          DataError: it cannot be decoded; the message names the file.
        """
        raise NotImplementedError

    def notes(self, index: int) -> tuple[str, ...]:
        """Returns notes on how slice `index` is read, as `remarks`."""
        return ()

    def window(self, index: int) -> tuple[float, float] | None:
        """The centre and width that slice `index` is shown with; a stack that says it has `with_window`."""
        return None

    def with_window(self, window: tuple[float, float]) -> "Stack":
        """A copy that shows the source with that centre and width."""
        raise NotImplementedError

    def pixel_mm(self, index: int) -> tuple[float, float] | None:
        """Millimetres from row to row and from column to column of slice `index`."""
        return None

    def pixel_area(self, index: int) -> float | None:
        """Square millimetres of a pixel of slice `index`."""
        sides = self.pixel_mm(index)
        return None if sides is None else sides[0] * sides[1]

    def aspect(self, index: int) -> float | None:
        """The height of a pixel of slice `index` divided by its width, which a file may say without millimetres."""
        sides = self.pixel_mm(index)
        return None if sides is None else sides[0] / sides[1]

    def edges(self, index: int) -> dict[str, str] | None:
        """The letters at the "top", "right", "bottom" and "left" of slice `index` (`ddim_jax.imageio.edges`)."""
        return None


class FileFacts(NamedTuple):
    """Facts of a file that may hold several images, by its header.

    Attributes:
      slices: the number of its images.
      pixels: of each.
      patient: by which the images of one stay together; "" where the file does not say.
      own_scale: of a slice of a DICOM series how it is shown by itself, a `ddim_jax.imageio.dicom_grouping.OwnScale`;
        None for any other file.
      plane, by_range: those of `Stack`.
    """

    slices: int
    pixels: int
    patient: str = ""
    own_scale: Any = None
    plane: str | None = None
    by_range: bool = False


class _OnePicture(Stack):
    """A file of one image as a stack."""

    count = 1

    def __init__(self, path: Path, options: ReadOptions):
        self.files, self._options = (path,), options
        pixels = count_pixels(path)
        self.shape = (1, pixels)  # only its product is known before it is decoded

    def read(self, index: int) -> np.ndarray:
        return read_image(self.files[0], self._options)


def open_stack(files: Sequence[str | os.PathLike], options: ReadOptions = ReadOptions()) -> Stack:
    """Opens a file, or the files of a series, by their headers.

    Raises:
      DataError: a file cannot be read, the files do not belong together, or there are more than `MAX_VOXELS`.
      ConfigError: the reader gives something else than a `Stack`.
    """
    paths = tuple(Path(file) for file in files)
    reader = reader_of(paths[0])
    if not hasattr(reader, "open_stack"):
        return _OnePicture(paths[0], options)
    with guarded_reader(paths[0]):
        found = reader.open_stack(paths, options)
    if not isinstance(found, Stack):
        raise ConfigError(
            f"open_stack of the reader {reader.__name__} gives {type(found).__name__}; expected a class that inherits "
            "from ddim_jax.imageio.stacks.Stack"
        )
    return found


def count_slices(path: str | os.PathLike) -> int:
    """The number of images in a file, from its header; errors as `file_facts`."""
    return file_facts(path).slices if may_be_stack(path) else 1


def file_facts(path: str | os.PathLike) -> FileFacts:
    """The facts of a file of a format that may hold several images; its header is read once while it does not change.

    Raises:
      DataError: it cannot be read.
    """
    return _facts(os.fspath(path), file_state(path))


@functools.lru_cache(FILES_KEPT)
def _facts(path: str, state: tuple[int, int]) -> FileFacts:
    stack = open_stack([path])
    with guarded_reader(path):
        pixels = stack.shape[0] * stack.shape[1]
        return FileFacts(stack.count, pixels, stack.patient, stack.own_scale, stack.plane, stack.by_range)


def read_slice(
    image: str | os.PathLike, masks: Sequence[str | os.PathLike], index: int, options: ReadOptions, labels: Labels
) -> tuple[Picture, list[np.ndarray]]:
    """Slice `index` of a file of several images, and of its masks, each uint8 [H, W].

    Raises:
      DataError: a file cannot be read, or a mask is not of the same slices.
    """
    stack = _opened(os.fspath(image), file_state(image), options)
    found = []
    for mask in masks:
        read = getattr(reader_of(mask), "read_slice_mask", None)
        if read is None:
            raise DataError(f"{mask}: is one image, {image} has {stack.count} slices; expected NIfTI or DICOM-SEG.")
        with guarded_reader(mask):
            found.append(read(mask, stack, index, labels))
    pixels, notes = read_checked(stack, index)
    pixels = 255 - pixels if options.invert else pixels
    with guarded_reader(image):
        return Picture(pixels, None, notes, pixel_mm=stack.pixel_mm(index)), found


def read_checked(stack: Stack, index: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Slice `index` of a stack, uint8 [H, W, 3], and the notes on it.

    Raises:
      DataError: it cannot be decoded, or the reader fails or gives something else.
    """
    with guarded_reader(stack.files[0]):
        pixels, notes = stack.read(index), stack.notes(index)
        check_pixels(stack.files[0], pixels)
    return pixels, notes


def read_mask_of(image: str | os.PathLike, mask: str | os.PathLike, labels: Labels) -> np.ndarray:
    """The mask of a file of one image, uint8 [H, W], laid on it by their places in space where both have such.

    Raises:
      DataError: the mask cannot be read, or lies elsewhere.
    """
    read = getattr(reader_of(mask), "read_slice_mask", None)
    if read is None:
        return read_mask(mask, labels)
    with guarded_reader(mask):
        return read(mask, _opened(os.fspath(image), file_state(image), ReadOptions()), 0, labels)


def notes_of_mask(image: str | os.PathLike, mask: str | os.PathLike, index: int, labels: Labels) -> tuple[str, ...]:
    """Returns notes on how the mask of slice `index` is read, as `ddim_jax.imageio.images.Picture` has them."""
    tell = getattr(reader_of(mask), "slice_mask_notes", None)
    if tell is None:
        return ()
    with guarded_reader(mask):
        return tell(mask, _opened(os.fspath(image), file_state(image), ReadOptions()), index, labels)


def file_state(path: str | os.PathLike) -> tuple[int, int]:
    """Bytes and time of the last change of a file: what is kept of it holds as long as they do.

    Raises:
      DataError: it is not there.
    """
    try:
        found = os.stat(on_disk(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    return found.st_size, found.st_mtime_ns


@functools.lru_cache(4)  # the slices of one file are read one after the other
def _opened(path: str, state: tuple[int, int], options: ReadOptions) -> Stack:
    return open_stack([path], options)


def refuse_sources_without(hook: str, kind: str, sources: Sequence[Path], needs: str, lack: str) -> None:
    """Refuses a kind of result where some sources are of a format whose reader does not have `hook`.

    Args:
      needs, lack: for the message: what the kind does with its source, and what the others are.

    Raises:
      InputError: names up to ten of them, and says how many there are.
    """
    others = [source for source in sources if not hasattr(reader_of(source), hook)]
    if others:
        raise InputError(
            f"--save {kind} {needs}, and {len(others)} of {len(sources)} inputs {lack}: {first_names(others)}. Give "
            f"them in a call of their own, with another --output and without {kind}"
        )


def may_be_stack(path: str | os.PathLike) -> bool:
    """True if a file of this name may hold several images."""
    return hasattr(reader_of(path), "open_stack")


def remarks_on_sides(height: float, width: float, unit: str = "") -> list[str]:
    """A remark on a file whose pixels are not square; [] for others."""
    if max(height, width) <= ABOUT_EQUAL * min(height, width):
        return []
    return [f"pixels not square ({height:g} high and {width:g}{unit} wide; the network sees them square)"]

"""Sources of several pictures: a DICOM series, a file of several frames, a NIfTI volume."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ddim_jax.imageio.images import ReadOptions, count_pixels, read_image, reader_of

MAX_VOXELS = 2**28
"""A source with more in all is refused by its headers: 1024 slices of 512 x 512."""


class Stack(Protocol):
    """An opened source: `count` pictures of one size, decoded one at a time.

    Attributes:
      files: what it was read from, in the order of the slices where each has its own.
      count: number of slices, >= 1.
      shape: (H, W) of each.
    """

    files: tuple[Path, ...]
    count: int
    shape: tuple[int, int]

    def read(self, index: int) -> np.ndarray:
        """Slice `index` from 0, uint8 [H, W, 3]; called from several threads.

        Raises:
          DataError: it cannot be decoded; the message names the file.
        """


class _OnePicture:
    """A file of one picture as a stack."""

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
    """
    paths = tuple(Path(file) for file in files)
    opener = getattr(reader_of(paths[0]), "open_stack", None)
    return _OnePicture(paths[0], options) if opener is None else opener(paths, options)


def may_be_stack(path: str | os.PathLike) -> bool:
    """True if a file of this name may hold several pictures."""
    return hasattr(reader_of(path), "open_stack")

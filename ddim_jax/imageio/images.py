"""Images and masks from files: every image is read as uint8 [H, W, 3], every mask as class numbers.

How a file is read depends on its suffix: each module of `ddim_jax.imageio.readers`, or of another package, registers a
reader for some suffixes. A file with another suffix is read by what it begins with, or else as if it were a PNG, JPEG,
BMP or TIFF file.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from absl import logging

from ddim_jax.imageio.archives import on_disk, open_binary
from ddim_jax.imageio.constant import notes_if_constant
from ddim_jax.labels import Labels
from ddim_jax.registry import READERS
from ddim_jax.runtime.errors import ConfigError, DataError, InputError, failures_of

MAX_PIXELS = 2**30 // 12
"""An image with more is refused by its header, before any of it is decoded: 89 million.

Reading one takes at most 12 bytes a pixel, which is a GiB: 5 of 8-bit grey, 8 of RGB, 9 with alpha, 7 of 16-bit grey,
11 of 16-bit colours, 10 and 12 of a progressive JPEG file (RGB, CMYK). A TIFF file of 16-bit colours in one strip is
the exception with 16. `python -m tests.slow.picture_memory` measures it.
"""

AGAIN = "copy it again, or save it anew"
"""To do about a file that is damaged, in messages."""

_NOTES_LOGGED = 10


class Picture(NamedTuple):
    """An image as it is read.

    Attributes:
      pixels: uint8 [H, W, 3], as the image is shown: turned as the file says.
      range: the stored values that became 0 and 255, of a file with more than 8 bits a channel; else None.
      notes: what a user should know of it, each a kind and, in brackets, details: "few levels (17 are left ...)".
      orientation: by which the stored pixels were turned, as EXIF numbers it: 1 for not at all.
      pixel_mm: millimetres from row to row and from column to column; None where the file does not say them.
    """

    pixels: np.ndarray
    range: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    orientation: int = 1
    pixel_mm: tuple[float, float] | None = None


class ReadOptions(NamedTuple):
    """Options of reading images where a file leaves the choice to its user.

    Attributes:
      window: centre and width of the values that are shown, in the units of a DICOM or NIfTI file (Hounsfield units in
        CT) or the stored values of a file with 16 bits a channel; what lies below is black, above white. None: the
        file's own window, or a robust range of its values. Files of 8 bits have no window.
      invert: images are stored inverted, white as the smallest value: reading inverts them.
    """

    window: tuple[float, float] | None = None
    invert: bool = False

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "ReadOptions":
        """The options in the section `data` of a config."""
        window = data.get("window")
        pair = None if window is None else (float(window[0]), float(window[1]))
        return cls(pair, bool(data.get("invert", False)))


class Reader(Protocol):
    """Reads files with certain suffixes; registered by `@register.reader("name")` on a class with these static methods.

    All of them raise DataError, naming the file, for whatever may be wrong with it.

    Attributes:
      suffixes: in small letters with the dot, such as (".tif", ".tiff").

    A reader may have more: `magic`, an offset and the bytes there by which it knows files of other suffixes; and
    `open_stack(files, options)`, for files of several images (`ddim_jax.imageio.stacks.Stack`).
    """

    suffixes: tuple[str, ...]

    @staticmethod
    def read_image(path: str | os.PathLike, options: ReadOptions = ReadOptions()) -> Picture | np.ndarray:
        """The image; one of which there is nothing more to say may be its pixels alone."""

    @staticmethod
    def read_mask(path: str | os.PathLike, labels: Labels = Labels()) -> np.ndarray:
        """The mask, uint8 [H, W], as `ddim_jax.labels` has it; `ddim_jax.imageio.masks.mask_of_numbers` makes it from
        the numbers that the file stores."""

    @staticmethod
    def count_pixels(path: str | os.PathLike) -> int:
        """Height times width, from the header alone."""

    # A format that can say so has `orientation(path) -> int` too: by which `Picture.orientation` pixels are turned.


def image_suffixes() -> tuple[str, ...]:
    """The suffixes of all readers, in small letters with the dot, sorted."""
    return tuple(sorted(_reader_names()))


def suffix_of(name: str, suffixes: tuple[str, ...]) -> str:
    """The longest of `suffixes` that a file's name ends with, such as .nii.gz, or else its last dot and the rest.

    A number behind the last dot is none: DICOM files are called by UIDs, such as 1.2.840.7.4.
    """
    if fitting := [one for one in suffixes if name.lower().endswith(one)]:
        return name[-len(max(fitting, key=len)) :]
    suffix = os.path.splitext(name)[1]
    return "" if suffix[1:].isdigit() else suffix


def read_picture(path: str | os.PathLike, options: ReadOptions = ReadOptions()) -> Picture:
    """Reads an image by the reader of its suffix; for PNG and its like see `readers.pillow`.

    Raises:
      DataError: the file cannot be read; the message names it.
    """
    picture = _read(path, options)
    constant = notes_if_constant(
        picture.pixels, options.window, lambda: _read(path, options._replace(window=None)).pixels
    )
    picture = picture._replace(notes=(*constant, *picture.notes))
    return picture._replace(pixels=255 - picture.pixels) if options.invert else picture


def _read(path: str | os.PathLike, options: ReadOptions) -> Picture:
    with guarded_reader(path) as reader:
        found = reader.read_image(path, options)
        picture = found if isinstance(found, Picture) else Picture(found)
        check_pixels(path, picture.pixels)
    return picture


def check_pixels(path: str | os.PathLike, pixels: np.ndarray) -> None:
    """Checks that a reader gave uint8 [H, W, 3] with a pixel at least; a DataError names the file and what it gave."""
    dtype, shape = getattr(pixels, "dtype", type(pixels).__name__), np.shape(pixels)
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        name = reader_name(path)
        raise DataError(f"{path}: the reader {name!r} gives {dtype} {list(shape)}; expected uint8 [H, W, 3].")


def read_image(path: str | os.PathLike, options: ReadOptions = ReadOptions()) -> np.ndarray:
    """Reads an image as the commands do, which `Segmenter.segment` then takes.

    Args:
      path: a PNG, JPEG, TIFF, BMP, DICOM or NIfTI file of one image.
      options: such as a window; `ReadOptions.of(segmenter.config["data"])` are those of the training.

    Returns:
      uint8 [H, W, 3], turned as EXIF says, more than 8 bits scaled. What to know of it is logged, for the first ten.

    Raises:
      DataError: the file cannot be read; the message names it.
    """
    picture = read_picture(path, options)
    log_notes(path, picture.notes)
    return picture.pixels


def log_notes(path: str | os.PathLike, notes: Sequence[str]) -> None:
    """Logs what a user should know of how a file was read; the first ten times in a process."""
    for note in notes:
        logging.log_first_n(logging.WARNING, "%s: %s", _NOTES_LOGGED, os.fspath(path), note)


def note_parts(note: str) -> tuple[str, str]:
    """The kind of a note of a `Picture` and its details, "" for none."""
    kind, _, details = note.partition(" (")
    return kind, details.removesuffix(")")


def check_fits(image_path: str | os.PathLike, picture: Picture, mask_path: str | os.PathLike, mask: np.ndarray) -> None:
    """Refuses a mask [H, W] that does not lie on its image for certain.

    Where EXIF turns one of them and not the other, nothing says which pixels the mask was drawn on, unless the sides of
    the image differ and those of the mask fit one way alone.

    Raises:
      DataError: the two differ in size or in EXIF orientation; both are named.
    """
    height, width = picture.pixels.shape[:2]
    with guarded_reader(mask_path) as reader:
        turned = [picture.orientation, getattr(reader, "orientation", lambda path: 1)(mask_path)]
    if turned[0] != turned[1] and (
        mask.shape == (width, height) or (mask.shape == (height, width) and not _sides_tell(turned, mask.shape))
    ):
        raise DataError(
            f"{image_path} has EXIF orientation {turned[0]} and its mask {mask_path} {turned[1]} (1 is not turned), so "
            "they may not lie on each other; turn the stored pixels of both upright and remove the EXIF orientation, "
            "or give both the same."
        )
    if mask.shape != (height, width):
        advice = "Turn one of them" if mask.shape == (width, height) else "Resize the mask by the nearest pixel"
        raise DataError(
            f"{image_path} is {width} x {height} pixels, its mask {mask_path} is {mask.shape[1]} x {mask.shape[0]}; "
            f"expected the same size. {advice}, or give the mask that was drawn on this image."
        )


def _sides_tell(turned: Sequence[int], shape: tuple[int, int]) -> bool:
    """True if of two orientations one swaps the sides and the other does nothing, and the sides differ."""
    return min(turned) == 1 and max(turned) >= 5 and shape[0] != shape[1]


def read_mask(path: str | os.PathLike, labels: Labels = Labels()) -> np.ndarray:
    """Reads a mask by the reader of its suffix.

    Args:
      path: of the file.
      labels: the classes; one, read by the level, by default.

    Returns:
      uint8 [H, W] as `ddim_jax.labels` has it: 0 background, k = 1 .. K the class, 255 ignored; with
      `labels.multilabel` bit k - 1 is class k.

    Raises:
      DataError: as `read_image`, or its values do not say what is foreground; they are named.
    """
    with guarded_reader(path) as reader:
        return reader.read_mask(path, labels)


def count_pixels(path: str | os.PathLike) -> int:
    """Height times width of an image, from the header alone.

    Raises:
      DataError: as `read_image`, for what is wrong with the header.
    """
    with guarded_reader(path) as reader:
        return reader.count_pixels(path)


@contextlib.contextmanager
def guarded_reader(path: str | os.PathLike) -> Iterator[type[Reader]]:
    """The reader of a file, in a block in which it may fail (`ddim_jax.runtime.errors.failures_of`)."""
    name = reader_name(path)
    with failures_of(lambda: f"{path}: the reader {name!r} failed"):
        yield READERS.get(name)


def reader_of(path: str | os.PathLike) -> type[Reader]:
    """The reader of a file by its suffix (the longest that fits), of another by what it begins with; else PNG's.

    Raises:
      ConfigError: two readers have registered for one suffix.
    """
    return READERS.get(reader_name(path))


def reader_name(path: str | os.PathLike) -> str:
    """The name of `reader_of` a file; errors as there."""
    name = os.path.basename(os.fspath(path)).lower()
    names = _reader_names()
    fitting = [suffix for suffix in names if name.endswith(suffix)]
    if fitting:
        return names[max(fitting, key=len)]
    return name_by_content(path) or "pillow"


def name_by_content(path: str | os.PathLike) -> str | None:
    """The name of the reader that knows a file by its first bytes, or None; a DICOMDIR, an index, is no image."""
    if os.path.basename(os.fspath(path)).upper() == "DICOMDIR" or not os.path.isfile(on_disk(path)):
        return None
    known = {reader_name: reader.magic for reader_name, reader in READERS.items() if hasattr(reader, "magic")}
    try:
        with open_binary(path) as file:
            start = file.read(max((offset + len(magic) for offset, magic in known.values()), default=0))
    except (OSError, InputError):
        return None
    return next((name for name, (offset, magic) in known.items() if start[offset:].startswith(magic)), None)


def name_without_suffix(path: str | os.PathLike) -> str | None:
    """`name_by_content` of a file without a suffix, as scanners write them; None for one that has any."""
    return None if suffix_of(os.path.basename(os.fspath(path)), ()) else name_by_content(path)


def _reader_names() -> dict[str, str]:
    """The name of the reader of each suffix."""
    names: dict[str, str] = {}
    for name, reader in READERS.items():
        for suffix in reader.suffixes:
            if names.setdefault(suffix, name) != name:
                raise ConfigError(f"the readers {names[suffix]} and {name} are both for files ending in {suffix}")
    return names

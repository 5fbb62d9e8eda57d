"""DICOM-SEG files as masks."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ddim_jax.imageio import dicom
from ddim_jax.imageio.clinic import errors_naming
from ddim_jax.imageio.dicom_frames import read_frame
from ddim_jax.imageio.dicom_geometry import orientation, pixel_spacing, position
from ddim_jax.imageio.images import AGAIN
from ddim_jax.imageio.masks import mask_of_numbers
from ddim_jax.imageio.series import Slice
from ddim_jax.imageio.stacks import MAX_VOXELS
from ddim_jax.labels import BACKGROUND, IGNORED, Labels
from ddim_jax.runtime.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

_SAME_PLACE = 0.01  # millimetres, by which writers round
_COMPARED = (
    ("position", position, _SAME_PLACE),
    ("orientation", orientation, 1e-3),
    ("spacing", pixel_spacing, None),  # None: a thousandth
)


def read_segments(
    path: str | os.PathLike, header: "Dataset", labels: Labels, slices: Sequence[Slice] | None = None
) -> np.ndarray:
    """The masks in a DICOM-SEG file.

    Segments are classes by their label where any of them is labelled with a name of `labels`, since a file without one
    of the classes numbers the others from 1 all the same; a class without a segment is empty. Segments without labels,
    and those of one class that has no name either (`data.labels=1`), go by their numbers, as values do in other files.
    An image without a frame in the file has an empty mask.

    Args:
      path: of the file.
      header: as `ddim_jax.imageio.dicom.read_header` gives it.
      labels: the classes.
      slices: the images that masks are wanted of; None: the file is of one image.

    Returns:
      uint8 [n, H, W], as `ddim_jax.labels` has masks.

    Raises:
      DataError: the file is damaged, holds probabilities, segments with other names than the classes, or such that
        overlap without `data.multilabel`; or it is of other images.
      LabelMapError: several segments, and nothing says which are foreground.
    """
    with errors_naming(path):
        kind = str(header.SegmentationType)
        if kind not in ("BINARY", "LABELMAP"):
            raise DataError(f"{path}: holds probabilities ({kind}), expected masks (BINARY or LABELMAP).")
        numbers = {int(item.SegmentNumber): str(item.get("SegmentLabel", "")) for item in header.SegmentSequence}
        codes = _codes(path, numbers, labels)
        rows, columns, count = int(header.Rows), int(header.Columns), dicom.frames(header)
        groups = header.PerFrameFunctionalGroupsSequence
        if len(groups) != count:
            raise DataError(
                f"{path}: has {count} frames (NumberOfFrames) and {len(groups)} descriptions of them "
                f"(PerFrameFunctionalGroupsSequence), expected as many; {AGAIN}."
            )
        places = _places(path, header, count, slices)
        size = (1 if slices is None else len(slices), rows, columns)
        if size[1] * size[2] * size[0] > MAX_VOXELS:
            raise DataError(f"{path}: {size[0]} masks of {columns} x {rows} pixels are too many.")
        masks = np.zeros(size, np.uint16)
        for frame in range(count):
            stored = read_frame(path, header, frame)
            place = places[frame]
            if kind == "LABELMAP":
                found = np.zeros(stored.shape, np.uint16)
                for number in np.unique(stored[stored > 0]):
                    found[stored == number] = _code_of(path, codes, int(number), frame)
            else:
                (item,) = _group(header, frame, "SegmentIdentificationSequence")
                code = _code_of(path, codes, int(item.ReferencedSegmentNumber), frame)
                found = np.where(stored > 0, np.uint16(code), np.uint16(0))
            there = masks[place]
            if not labels.multilabel and ((there > 0) & (found > 0) & (there != found)).any():
                raise DataError(f"{path}: segments overlap; set data.multilabel and name them in data.labels.")
            masks[place] = there | found if labels.multilabel else np.maximum(there, found)
    if labels.names:
        return masks.astype(np.uint8)
    return np.stack([mask_of_numbers(mask, labels, name=str(path)) for mask in masks])


def _codes(path: str | os.PathLike, numbers: dict[int, str], labels: Labels) -> dict[int, int]:
    """The value in a mask of each segment: of its class, or its number where nothing is said of classes."""
    if not labels.names:
        return {number: number for number in numbers}
    known = labels.codes()
    folded = {name.strip().casefold() for name in labels.names}
    fold = str.casefold if len(folded) == len(labels.names) else str
    by_name = {fold(name.strip()): 1 << k if labels.multilabel else k + 1 for k, name in enumerate(labels.names)}
    own = {number: fold(name.strip()) for number, name in numbers.items()}
    if set(own.values()) & set(by_name):
        # A segment of another name may have the number of a class by chance: it is what is said to be none, or unknown.
        by_name.setdefault(BACKGROUND, 0)
        none = {number: code for number, code in known.items() if code in (0, IGNORED)}
        found = {number: by_name.get(name, none.get(number)) for number, name in own.items()}
        expected = "some have names of data.labels, so all need one"
    elif any(own.values()) and labels.names != Labels().class_names:
        held = ", ".join(f"{number} ({numbers[number]})" for number in sorted(numbers))
        named = ", ".join(f'"{name}": {number}' for number, name in sorted(numbers.items()))
        raise DataError(
            f"{path}: holds the segments {held}, and none has a name of data.labels ({', '.join(labels.names)}). Give "
            f"the classes the names of the segments, data.labels={{{named}}}, or the numbers of one class alone, such "
            f"as data.labels={sorted(numbers)}."
        )
    else:
        found = {number: known.get(number) for number in numbers}
        expected = "data.labels has numbers alone, or these have no names, so all need a number of it"
    unknown = [f"{number} ({numbers[number]})" for number in sorted(numbers) if found[number] is None]
    if unknown:
        held = ", ".join(f"{number} ({numbers[number]})" for number in sorted(numbers))
        raise DataError(
            f"{path}: holds the segments {held}; {expected}, which is not so for {', '.join(unknown)}. The classes are "
            f"{', '.join(labels.names)}; the name background in data.labels takes the number of what does not count."
        )
    return found


def _code_of(path: str | os.PathLike, codes: dict[int, int], number: int, frame: int) -> int:
    if number not in codes:
        held = ", ".join(map(str, sorted(codes)))
        raise DataError(
            f"{path}: frame {frame + 1} is of segment {number}, SegmentSequence has {held}; expected one of these. "
            f"{AGAIN.capitalize()}."
        )
    return codes[number]


def _places(path: str | os.PathLike, header: "Dataset", count: int, slices: Sequence[Slice] | None) -> list[int]:
    """For each frame of the file the number of the image that it is of."""
    references = [_reference(header, frame) for frame in range(count)]
    if slices is None or len(slices) == 1:
        alone = [place for frame, one in enumerate(references) if not one and (place := _place(header, frame))]
        if len(set(references)) > 1 or (alone and np.ptp(alone, axis=0).max() > _SAME_PLACE):
            raise DataError(f"{path}: holds masks of several images, expected of one.")
        for frame in range(count if slices else 0):
            check_lies_on(path, header, frame, slices[0])
        return [0] * count
    known = {(str(own.get("SOPInstanceUID", "")), frame + 1): number for number, (_, own, frame) in enumerate(slices)}
    placed = [(number, place) for number, (_, *own) in enumerate(slices) if (place := _place(*own))]
    found = []
    for frame, reference in enumerate(references):
        number, place = known.get(reference), _place(header, frame)
        if number is None and place and placed:
            apart = np.abs(np.subtract([other for _, other in placed], place)).max(axis=1)
            number = placed[apart.argmin()][0] if apart.min() <= _SAME_PLACE else None
        if number is None:
            raise DataError(
                f"{path}: frame {frame + 1} is of an image that is not among {slices[0].path} and its like."
            )
        check_lies_on(path, header, frame, slices[number])
        found.append(number)
    return found


def check_lies_on(path: str | os.PathLike, header: "Dataset", frame: int, picture: Slice) -> None:
    """Refuses a frame of a mask whose header gives it other pixels than its image's; what one lacks is not compared.

    Raises:
      DataError: they differ in size, position, orientation or spacing; both are named.
    """
    sizes = [(int(one.Columns), int(one.Rows)) for one in (header, picture.header)]
    if sizes[0] != sizes[1]:
        raise DataError(
            f"{path}: has {sizes[0][0]} x {sizes[0][1]} pixels, {picture.path} has {sizes[1][0]} x {sizes[1][1]}; "
            "expected the same."
        )
    for name, read, most in _COMPARED:
        own, wanted = read(header, frame), read(picture.header, picture.frame)
        if own is None or wanted is None:
            continue
        if np.abs(np.subtract(own, wanted)).max() > (most or 1e-3 * min(wanted)) + 1e-9:
            found, expected = (" ".join(f"{number:.6g}" for number in numbers) for numbers in (own, wanted))
            raise DataError(
                f"{path}: frame {frame + 1} has the {name} ({found}), frame {picture.frame + 1} of {picture.path} has "
                f"({expected}); expected the same. Resample the mask onto the image first."
            )


def _group(header: "Dataset", frame: int, name: str) -> Sequence["Dataset"]:
    """The items of a frame's functional group, which may be that of all frames."""
    shared = header.get("SharedFunctionalGroupsSequence") or [{}]
    return header.PerFrameFunctionalGroupsSequence[frame].get(name) or shared[0].get(name) or []


def _place(header: "Dataset", frame: int) -> list[float] | None:
    return None if (place := position(header, frame)) is None else place.tolist()


def _reference(header: "Dataset", frame: int) -> tuple[str, int] | None:
    """The instance and frame number of the image that a frame is of; None where the file does not say."""
    for derivation in _group(header, frame, "DerivationImageSequence"):
        for source in derivation.get("SourceImageSequence") or []:
            number = source.get("ReferencedFrameNumber") or 1
            return str(source.ReferencedSOPInstanceUID), int(number if isinstance(number, int | str) else number[0])
    return None

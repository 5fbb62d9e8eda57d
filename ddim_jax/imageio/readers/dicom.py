"""DICOM files: images as a radiologist sees them, and DICOM-SEG files as masks.

Needs the extra `clinic`. Files are known by their suffix, or by the letters DICM where they have another or none.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ddim_jax.imageio import dicom, dicom_shown
from ddim_jax.imageio.clinic import errors_naming
from ddim_jax.imageio.dicom_frames import read_frame
from ddim_jax.imageio.dicom_geometry import lengths
from ddim_jax.imageio.images import Picture, ReadOptions
from ddim_jax.imageio.masks import mask_of_numbers
from ddim_jax.imageio.segments import check_lies_on, read_segments
from ddim_jax.imageio.series import DicomStack
from ddim_jax.imageio.stacks import file_facts, file_state
from ddim_jax.labels import Labels
from ddim_jax.registry import READERS
from ddim_jax.runtime.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset


@READERS.register("dicom")
class DicomReader:
    """See `ddim_jax.imageio.images.Reader`."""

    suffixes = (".dcm", ".dicom", ".ima")
    magic = dicom.MAGIC

    @staticmethod
    def read_image(path: str | os.PathLike, options: ReadOptions = ReadOptions()) -> Picture:
        """Reads a file of one frame as `ddim_jax.imageio.dicom_shown.shown_frame` shows it.

        Raises:
          DataError: the file is missing, damaged, holds no image or several frames, or no installed library decodes
            it. The message names the file, and nothing of the patient.
          InputError: the libraries of the extra `clinic` are not installed.
        """
        header = dicom.picture_header(path)
        _check_single(path, header)
        with errors_naming(path):
            spacing = lengths(header)
        return Picture(
            dicom_shown.shown_frame(path, header, 0, options),
            None,
            dicom_shown.polarity_note(path, header) + dicom_shown.window_note(path, header, 0, options),
            pixel_mm=None if spacing is None else (spacing[0], spacing[1]),
        )

    @staticmethod
    def read_mask(path: str | os.PathLike, labels: Labels = Labels()) -> np.ndarray:
        """Reads a DICOM-SEG file of one image, or a grey DICOM file whose values are a mask.

        The segments of a DICOM-SEG file are classes by name, or by number where none has the name of a class
        (`ddim_jax.imageio.segments.read_segments`). Segments that overlap need `data.multilabel`. A file whose smallest
        value is white, as MONOCHROME1, is inverted where it is read by level, and refused where it is read by value.

        Raises:
          DataError, InputError: as `read_image` and `ddim_jax.imageio.masks.mask_of_numbers`.
        """
        header = dicom.read_header(path)
        if header.get("Modality") == "SEG":
            (mask,) = read_segments(path, header, labels)
            return mask
        header = dicom.picture_header(path)
        _check_single(path, header)
        stored = read_frame(path, header, 0)
        if stored.ndim != 2:
            raise DataError(f"{path}: is a colour image, expected grey values; save the mask as grey.")
        lossy = header.get("LossyImageCompression") == "01"
        if dicom.white_is_low(header):
            if labels.by_value:
                raise DataError(
                    f"{path}: is {_whitening(header)}, white as the smallest value, and data.labels and "
                    "data.ignore go by exact values; save the mask as MONOCHROME2 or as DICOM-SEG."
                )
            stored = _turned_round(path, header, stored, lossy=lossy)
        return mask_of_numbers(stored, labels, lossy=lossy, name=str(path))

    @staticmethod
    def count_pixels(path: str | os.PathLike) -> int:
        """Height times width of a frame, from the header alone; errors as `read_image`."""
        return file_facts(path).pixels

    @staticmethod
    def read_slice_mask(path: str | os.PathLike, stack: Any, index: int, labels: Labels = Labels()) -> np.ndarray:
        """The mask of slice `index` of `stack` in a DICOM-SEG file, or of its only one in a grey file.

        Raises:
          DataError: as `read_mask`; or it is of another image, or lies elsewhere.
        """
        if isinstance(stack, DicomStack):
            header = dicom.read_header(path)
            if stack.count == 1 and header.get("Modality") != "SEG":
                mask = DicomReader.read_mask(path, labels)
                check_lies_on(path, header, 0, stack.slices[0])
                return mask
            return _all_masks(os.fspath(path), file_state(path), stack, labels)[index]
        if stack.count > 1 or hasattr(stack, "affine"):  # NIfTI, whose slices are turned upright
            raise DataError(f"{path}: is DICOM, {stack.files[0]} is not; expected a NIfTI mask.")
        return DicomReader.read_mask(path, labels)

    @staticmethod
    def patient(path: str | os.PathLike) -> str:
        """The PatientID, so that the images of one patient stay together; "" where there is none; errors as above."""
        return file_facts(path).patient

    @staticmethod
    def open_stack(files: Sequence[Path], options: ReadOptions = ReadOptions()) -> DicomStack:
        """A file of one or more frames, or the files of a series; errors as `read_image`."""
        return DicomStack(files, options)


@functools.lru_cache(2)  # the slices of one file are read one after the other
def _all_masks(path: str, state: tuple[int, int], stack: DicomStack, labels: Labels) -> np.ndarray:
    header = dicom.read_header(path)
    if header.get("Modality") != "SEG":
        raise DataError(f"{path}: is no DICOM-SEG file; expected one for the {stack.count} slices.")
    return read_segments(path, header, labels, stack.slices)


def _whitening(header: "Dataset") -> str:
    """Names the attribute by which the smallest value is white."""
    return "MONOCHROME1" if dicom.presentation_shape(header) is None else "of the PresentationLUTShape INVERSE"


def _turned_round(path: str | os.PathLike, header: "Dataset", stored: np.ndarray, *, lossy: bool) -> np.ndarray:
    """The values of a mask whose smallest is white, the brightest largest, int64 [H, W]; the darkest of any is 0.

    Raises:
      DataError: one value throughout, which is neither black nor white.
    """
    with errors_naming(path):
        bits, signed = int(header.BitsStored), int(header.get("PixelRepresentation", 0)) == 1
    white = -(2 ** (bits - 1)) if signed else 0
    black = white + 2**bits - 1
    low, high = int(stored.min()), int(stored.max())
    if lossy:
        return black - stored.astype(np.int64)
    if low == high and low not in (white, black):
        raise DataError(
            f"{path}: is {_whitening(header)} and has the value {low} throughout, which is neither white "
            f"({white}) nor black ({black}), so that nothing says if it is foreground; save the mask as MONOCHROME2."
        )
    # Of two levels the darker is background, however little of the range they use.
    return (black if low == high else high) - stored.astype(np.int64)


def _check_single(path: str | os.PathLike, header: "Dataset") -> None:
    with errors_naming(path):
        if (count := dicom.frames(header)) > 1:
            raise DataError(f"{path}: holds {count} frames, expected one; ddim-jax sample takes it as a stack.")

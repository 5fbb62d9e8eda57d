"""DICOM files that belong together as slices of one volume."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ddim_jax.imageio import dicom, dicom_shown
from ddim_jax.imageio.clinic import errors_naming
from ddim_jax.imageio.dicom_geometry import (
    aspect,
    edges,
    is_at_detector,
    length_remarks,
    lengths,
    orientation,
    pixel_spacing,
    plane,
    position,
    same_directions,
    same_spacing,
    slice_thickness,
)
from ddim_jax.imageio.dicom_grouping import OwnScale, own_scale
from ddim_jax.imageio.dicom_order import SAME_PLACE, drop_damaged, in_order, without_copies
from ddim_jax.imageio.grey import window_of
from ddim_jax.imageio.images import ReadOptions
from ddim_jax.imageio.stacks import MAX_VOXELS, Stack
from ddim_jax.runtime.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

_SAMPLED = 8  # slices whose values decide on black and white where no file says so
_ROUNDED = 0.1001  # millimetres between a coordinate and the line through two others, all with one decimal
_MAX_SLICES = 2**17  # of one pixel, say: a header can speak of billions, and each is an object


class Slice(NamedTuple):
    """One image of a series.

    Attributes:
      path: its file.
      header: of the file.
      frame: in the file, from 0.
    """

    path: Path
    header: "Dataset"
    frame: int


class DicomStack(Stack):
    """See `ddim_jax.imageio.stacks.Stack`; `slices` has the header of each, `missing` the remark on those missing.

    Files are sorted by their position along the normal of the slices, frames stay in the order of their file
    (`spatial_order`). Where the windows of the slices differ, all are shown with that of the middle one, so that they
    can be compared.
    """

    def __init__(self, files: Sequence[Path], options: ReadOptions):
        headers = [dicom.picture_header(file) for file in files]
        self.remarks: list[str] = drop_damaged(files, headers)
        if len(files) > 1:
            files, headers = without_copies(files, headers, self.remarks)
            files, headers = in_order(files, headers, self.remarks)
        self.files = tuple(files)
        self.count = sum(dicom.frames(header) for header in headers)
        with errors_naming(files[0]):
            self.shape = (int(headers[0].Rows), int(headers[0].Columns))
        if (self.count * self.shape[0] * self.shape[1] > MAX_VOXELS and self.count > 1) or self.count > _MAX_SLICES:
            raise DataError(
                f"{files[0]}: {self.count} slices of {self.shape[1]} x {self.shape[0]} pixels, expected at most "
                f"{MAX_VOXELS} in all and {_MAX_SLICES} slices; segment parts of it."
            )
        self.slices = [
            Slice(file, header, frame)
            for file, header in zip(files, headers, strict=True)
            for frame in range(dicom.frames(header))
        ]
        self._options, self._limits = options, None
        self._shared: tuple[float, float, str] | None = None
        if self.count > 1:
            self._share_window()
        with errors_naming(files[0]):
            self.plane = plane(headers[0]) if self.count > 1 else None
            self.missing = next((remark for remark in self.remarks if remark.startswith("slices missing")), "")
            if self.lies_in_space and not self.missing and (uneven := _uneven_places(self)):
                self.remarks.append(f"slices not in even places ({uneven}; no volume)")
            self.remarks += length_remarks(headers[0])

    def read(self, index: int) -> np.ndarray:
        """Slice `index`, uint8 [H, W, 3]; errors as `ddim_jax.imageio.dicom_shown.shown_frame`."""
        path, header, frame = self.slices[index]
        limits = self._limits_of(path, header)
        return dicom_shown.shown_frame(path, header, frame, self._options, limits, self._shared)

    def _share_window(self) -> None:
        # Frames differ where their file says something of each; a file may speak of a hundred thousand.
        parts = [part for part in self.slices if part.frame == 0 or "PerFrameFunctionalGroupsSequence" in part.header]
        with errors_naming(self.files[0]):
            windows = [dicom_shown.own_window(*part) for part in parts]
        if not dicom_shown.differ(windows):
            return
        usable = [window for window in windows if window is not None]
        self._shared = centre, width, _ = usable[len(usable) // 2]
        if self._options.window is not None:  # shown by that one's function
            return
        self.remarks.append(
            f"windows differ ({len(set(windows))} kinds in {self.count} slices; all are shown with that of the middle "
            f"one, centre {centre:g} and width {width:g})"
        )

    def with_window(self, window: tuple[float, float]) -> "DicomStack":
        """A copy that shows the files with that centre and width."""
        other = copy.copy(self)
        other._options = self._options._replace(window=window)
        return other

    def window(self, index: int) -> tuple[float, float] | None:
        """The centre and width that slice `index` is shown with; None for colours, and for a table in place of one."""
        path, header, frame = self.slices[index]
        if self._options.window is not None:
            return self._options.window
        if self._shared is not None:
            return self._shared[:2]
        if (limits := self._limits_of(path, header)) is not None:
            return window_of(*limits)
        return dicom_shown.shown_window(path, header, frame)

    @property
    def white_is_low(self) -> bool:
        """True where the smallest value is shown white, as of MONOCHROME1."""
        return dicom.white_is_low(self.slices[0].header)

    def pixel_mm(self, index: int) -> tuple[float, float] | None:
        """Millimetres from row to row and from column to column of slice `index`; None where the file does not say."""
        path, header, frame = self.slices[index]
        with errors_naming(path):
            spacing = lengths(header, frame)
        return None if spacing is None else (spacing[0], spacing[1])

    def aspect(self, index: int) -> float | None:
        """The height of a pixel of slice `index` divided by its width; None where the file does not say."""
        path, header, frame = self.slices[index]
        with errors_naming(path):
            return aspect(header, frame)

    @property
    def area_at(self) -> str | None:
        """ "detector" where lengths are those of a projection's detector, which are larger than the patient's."""
        with errors_naming(self.files[0]):
            return "detector" if is_at_detector(self.slices[0].header) else None

    @property
    def lies_in_space(self) -> bool:
        """True where each slice has a place of its own; frames of a cine loop have none, or share them."""
        with errors_naming(self.files[0]):
            places = [position(part.header, part.frame) for part in self.slices]
            if any(place is None for place in places):
                return False
            return len(np.unique(np.round(np.array(places) / SAME_PLACE), axis=0)) == self.count

    @property
    def voxel_mm3(self) -> float | None:
        """Cubic millimetres of a voxel; None where slices have no places at even distances (`affine`), and of one."""
        if self.count == 1 or not self.lies_in_space:
            return None
        try:
            return float(abs(np.linalg.det(affine(self)[:3, :3])))
        except DataError:
            return None

    @property
    def patient(self) -> str:
        """The PatientID; "" where there is none."""
        path, header, _ = self.slices[0]
        with errors_naming(path):
            return str(header.get("PatientID") or "").strip()

    @property
    def own_scale(self) -> OwnScale | None:
        """See `ddim_jax.imageio.stacks.FileFacts`."""
        path, header, _ = self.slices[0]
        return own_scale(str(path), header)

    def edges(self, index: int) -> dict[str, str] | None:
        """See `ddim_jax.imageio.stacks.Stack`."""
        path, header, frame = self.slices[index]
        with errors_naming(path):
            return edges(header, frame)

    def notes(self, index: int) -> tuple[str, ...]:
        """Returns notes for the user on how slice `index` is shown."""
        path, header, frame = self.slices[index]
        polarity = dicom_shown.polarity_note(path, header)
        if self._shared is not None:
            return polarity
        return polarity + dicom_shown.window_note(path, header, frame, self._options)

    def _limits_of(self, path: Path, header: "Dataset") -> tuple[float, float] | None:
        """Black and white of a slice: the same for all, from some of them; None where anything else decides."""
        if self.count == 1 or self._options.window is not None or self._shared is not None:
            return None
        with errors_naming(path):
            if dicom_shown.says_its_range(path, header):
                return None
        if self._limits is None:
            chosen = np.unique(np.linspace(0, self.count - 1, _SAMPLED).astype(int))
            found = [dicom_shown.stored_limits(*self.slices[index]) for index in chosen]
            self._limits = min(low for low, _ in found), max(high for _, high in found)
        return self._limits


def spatial_order(stack: DicomStack) -> np.ndarray:
    """Numbers of the slices along the normal, int [count], from the end that the first is nearer to: frames of a file
    may be stored in another order, as those of an interleaved acquisition.

    All slices have to have a place and an orientation.
    """
    along = _places(stack) @ _normal(stack)
    order = np.argsort(along, kind="stable")
    return order if along[0] - along.min() <= along.max() - along[0] else order[::-1]


def _places(stack: DicomStack) -> np.ndarray:
    return np.array([position(part.header, part.frame) for part in stack.slices])


def _normal(stack: DicomStack) -> np.ndarray:
    directions = orientation(stack.slices[0].header, stack.slices[0].frame)
    return np.cross(directions[:3], directions[3:])


def _uneven_places(stack: DicomStack) -> str | None:
    """The distances of slices whose places are not even; None where they are even or nothing says.

    They are even where no coordinate is off the equal parts of the line from first to last by more than 1% of the mean
    distance, or than what one decimal rounds off.
    """
    if stack.count == 1 or orientation(stack.slices[0].header, stack.slices[0].frame) is None:
        return None
    places = _places(stack)[spatial_order(stack)]
    apart = np.abs(np.diff(places, axis=0) @ _normal(stack))
    line = places[0] + np.linspace(0, 1, stack.count)[:, None] * (places[-1] - places[0])
    off, step = np.abs(places - line).max(), apart.mean()
    if apart.min() < SAME_PLACE:
        return "some in one plane"
    if off <= max(0.01 * step, min(_ROUNDED, 0.2 * step)):
        return None
    return f"{apart.min():.4g} to {apart.max():.4g} mm apart, up to {off:.2g} mm off even ones"


def affine(stack: DicomStack) -> np.ndarray:
    """The map from (column, row, slice) to millimetres towards right, front and head, float64 [4, 4], as NIfTI has it.

    Slices are in the order of `spatial_order`.

    Raises:
      DataError: a slice has no place, they share it or are not in even places, or differ in orientation or spacing.
    """
    path, header, frame = stack.slices[0]
    with errors_naming(path):
        directions = orientation(header, frame)
        places = [position(part.header, part.frame) for part in stack.slices]
        spacing = pixel_spacing(header, frame)
        needed = {
            "position (ImagePositionPatient)": not any(place is None for place in places),
            "orientation (ImageOrientationPatient)": directions is not None,
            "spacing (PixelSpacing)": spacing is not None,
        }
        if missing := [name for name, is_there in needed.items() if not is_there]:
            raise DataError(
                f"{path}: has no {' and no '.join(missing)}; expected it for NIfTI, whose voxels lie in the patient. "
                "Save masks as PNG or DICOM-SEG."
            )
        for part in stack.slices:  # frames of one file may have their own
            turned, apart = orientation(part.header, part.frame), pixel_spacing(part.header, part.frame)
            if not (same_directions(turned, directions) and same_spacing(apart, spacing)):
                raise DataError(
                    f"{part.path}: frame {part.frame + 1} differs in orientation or spacing from the first; NIfTI has "
                    "one affine for all. Save masks as PNG or DICOM-SEG."
                )
        rows, columns = directions[:3], directions[3:]
        if stack.count > 1:
            ordered = np.array(places)[spatial_order(stack)]
            if uneven := _uneven_places(stack):
                told = f": {stack.missing}" if stack.missing else f" ({uneven})"
                raise DataError(
                    f"{path}: the slices are not in even places{told}; NIfTI has one affine for all. Save masks as PNG "
                    "or DICOM-SEG."
                )
            origin, step = ordered[0], (ordered[-1] - ordered[0]) / (stack.count - 1)
        else:
            origin, step = places[0], np.cross(rows, columns) * (slice_thickness(header, frame) or 1.0)
        found = np.eye(4)
        found[:3] = np.stack([rows * spacing[1], columns * spacing[0], step, origin], axis=1)
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ found

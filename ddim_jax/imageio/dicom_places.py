"""DICOM headers as highdicom takes them, and its results without what was made up for it: places, lengths, classes."""

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from ddim_jax.imageio.clinic import library
from ddim_jax.imageio.dicom_geometry import (
    orientation,
    pixel_spacing,
    position,
    same_directions,
    same_spacing,
    slice_thickness,
)
from ddim_jax.imageio.dicom_results import MAY_BE_EMPTY, NAMES, made_uid
from ddim_jax.imageio.series import DicomStack
from ddim_jax.runtime.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

_ONE_FRAME, _SEVERAL_FRAMES = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.4"  # secondary captures


def shared_spacing(stack: DicomStack) -> list[float] | None:
    """Spacing of rows and columns in millimetres, if all slices have the same; else None."""
    found = [pixel_spacing(part.header, part.frame) for part in stack.slices]
    return found[0] if all(same_spacing(other, found[0]) for other in found) else None


def have_places(stack: DicomStack) -> bool:
    """True if all slices have a place, each its own, and share their orientation."""
    places = [position(part.header, part.frame) for part in stack.slices]
    turned = [orientation(part.header, part.frame) for part in stack.slices]
    if any(place is None for place in (*places, *turned)):
        return False
    apart = {tuple(np.round(place, 3)) for place in places}
    return len(apart) == len(places) and all(same_directions(other, turned[0]) for other in turned)


def as_sources(headers: list["Dataset"], stack: DicomStack) -> tuple[list["Dataset"], "Dataset | None"]:
    """The headers of a stack as highdicom takes them, and measures of pixels where it has to be told of them.

    What is made up for it is in copies; `remove_made_up` takes it out of its result again.

    Raises:
      DataError: files of a series have no places, or orientations of their own.
    """
    measures = library("highdicom").PixelMeasuresSequence
    spacing, placed = shared_spacing(stack), have_places(stack)
    thickness = slice_thickness(stack.slices[0].header, stack.slices[0].frame)
    headers = [_with_class_of_today(header) for header in headers]
    if placed:
        thickness = thickness or _distance(stack)
        if stack.slices[0].header.get("SharedFunctionalGroupsSequence") or stack.count > len(headers):
            return [_with_shared_groups(headers[0], stack, measures(spacing or [1.0, 1.0], thickness))], None
        same = {
            "ImageOrientationPatient": headers[0].ImageOrientationPatient,  # highdicom takes no two, however near
            "PixelSpacing": spacing or [1.0, 1.0],
            "SliceThickness": thickness,
        }
        return [_with(header, same) for header in headers], None
    if len(headers) > 1:
        raise DataError(
            f"{stack.files[0]}: the files of this series do not share their orientation (ImageOrientationPatient), or "
            "lack positions (ImagePositionPatient); expected both, which DICOM-SEG lays masks by. Save the mask as PNG."
        )
    if stack.count > 1:
        return [_with_made_up_places(headers[0], stack.count, measures(spacing or [1.0, 1.0], thickness or 1.0))], None
    # Of a class that needs neither several frames nor a frame of reference.
    header = _copied(headers[0])
    header.pop("FrameOfReferenceUID", None)
    header.SOPClassUID = _ONE_FRAME
    return [header], measures(spacing or [1.0, 1.0], thickness or 1.0)


def remove_made_up(dataset: "Dataset", stack: DicomStack, header: "Dataset") -> None:
    """Takes out of a segmentation what `as_sources` has made up: places, lengths that no file says, and classes.

    Args:
      dataset: the segmentation.
      stack: its source.
      header: of the first file.
    """
    placed = have_places(stack)
    if stack.count > 1 and not placed:
        _remove_places(dataset)
    (shared,) = dataset.SharedFunctionalGroupsSequence
    if shared_spacing(stack) is None:
        # PS3.3 A.51.5: required only without a Derivation Image group, by which each frame refers to its source.
        del shared["PixelMeasuresSequence"]
    elif (stack.count == 1 or not placed) and "SpacingBetweenSlices" not in header:
        shared.PixelMeasuresSequence[0].pop("SpacingBetweenSlices", None)
    if not placed:
        dataset.PatientOrientation = header.get("PatientOrientation")  # empty, where it is not known
    for element in dataset.iterall():
        if element.keyword == "ReferencedSOPClassUID" and element.value in (_ONE_FRAME, _SEVERAL_FRAMES):
            element.value = header.SOPClassUID


def _distance(stack: DicomStack) -> float:
    """The usual distance of slices in millimetres, in place of a thickness; of a single one 1."""
    if stack.count == 1:
        return 1.0
    places = np.array([position(part.header, part.frame) for part in stack.slices])
    return round(float(np.median(np.linalg.norm(np.diff(places, axis=0), axis=1))), 6)


def _copied(header: "Dataset") -> "Dataset":
    """A copy whose attributes can be changed."""
    other = library("pydicom").Dataset()
    other.update(header)
    return other


def _with(header: "Dataset", attributes: dict[str, Any]) -> "Dataset":
    """The header with these attributes, itself where it has them."""
    if all(header.get(name) == value for name, value in attributes.items()):
        return header
    header = _copied(header)
    for name, value in attributes.items():
        setattr(header, name, value)
    return header


def _with_shared_groups(header: "Dataset", stack: DicomStack, measures: "Dataset") -> "Dataset":
    """The header of a file whose frames have places, with orientation and measures for all, which highdicom needs."""
    groups = header.get("SharedFunctionalGroupsSequence")
    shared = _copied(groups[0] if groups else {})
    if "PlaneOrientationSequence" not in shared:
        directions = orientation(stack.slices[0].header, stack.slices[0].frame).tolist()
        shared.PlaneOrientationSequence = library("highdicom").PlaneOrientationSequence("PATIENT", directions)
    # Some leave these to each frame, where highdicom does not look.
    if "PixelMeasuresSequence" not in shared or pixel_spacing(header) is None or slice_thickness(header) is None:
        shared.PixelMeasuresSequence = measures
    header = _copied(header)
    header.SharedFunctionalGroupsSequence = [shared]
    return header


def _with_class_of_today(header: "Dataset") -> "Dataset":
    """The header, of a retired class as a secondary capture: highdicom knows no others."""
    kind = header.SOPClassUID
    if kind.is_private or not kind.is_retired:
        return header
    placed = _copied(header)
    placed.add_new("SOPClassUID", "UI", _ONE_FRAME)
    return placed


def _with_made_up_places(header: "Dataset", count: int, measures: "Dataset") -> "Dataset":
    """The header of a file of several frames that have no place, such as ultrasound, with places one behind another.

    highdicom refers to several frames only where they have places and a class of such files, which scanners do not all
    give them.
    """
    pydicom, highdicom = library("pydicom"), library("highdicom")
    placed = pydicom.Dataset()
    for name in (*MAY_BE_EMPTY, *NAMES, "Rows", "Columns", "NumberOfFrames", "Modality", "LossyImageCompression",
                 "LossyImageCompressionRatio", "LossyImageCompressionMethod", "PatientOrientation"):  # fmt: skip
        if name in header:
            placed[name] = copy.copy(header[name])
    placed.SOPClassUID = _SEVERAL_FRAMES
    placed.FrameOfReferenceUID = made_uid("no frame of reference", str(header.SOPInstanceUID))
    shared = pydicom.Dataset()
    shared.PlaneOrientationSequence = highdicom.PlaneOrientationSequence("PATIENT", [1, 0, 0, 0, 1, 0])
    shared.PixelMeasuresSequence = measures
    placed.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for frame in range(count):
        group = pydicom.Dataset()
        group.PlanePositionSequence = highdicom.PlanePositionSequence("PATIENT", [0.0, 0.0, float(frame)])
        groups.append(group)
    placed.PerFrameFunctionalGroupsSequence = groups
    return placed


def _remove_places(dataset: "Dataset") -> None:
    """Takes the places that `_with_made_up_places` has made up out of a segmentation; its frames refer to frames."""
    tags = library("pydicom.datadict")
    for name in ("FrameOfReferenceUID", "PositionReferenceIndicator"):
        if name in dataset:
            del dataset[name]
    del dataset.SharedFunctionalGroupsSequence[0]["PlaneOrientationSequence"]
    pointers = [index.DimensionIndexPointer for index in dataset.DimensionIndexSequence]
    at = pointers.index(tags.tag_for_keyword("ImagePositionPatient"))
    for group in dataset.PerFrameFunctionalGroupsSequence:
        del group["PlanePositionSequence"]
        frame = int(group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber)
        content = group.FrameContentSequence[0]
        content.StackID, content.InStackPositionNumber = "1", frame
        values = content.DimensionIndexValues
        content.DimensionIndexValues = [*values[:at], frame, *values[at + 1 :]]
    index = dataset.DimensionIndexSequence[at]
    index.DimensionIndexPointer = tags.tag_for_keyword("InStackPositionNumber")
    index.FunctionalGroupPointer = tags.tag_for_keyword("FrameContentSequence")
    index.DimensionDescriptionLabel = "Frame of the source"

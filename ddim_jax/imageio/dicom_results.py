"""Fields common to all DICOM files of results: their maker and sources, and that they are not for clinical use."""

import copy
import hashlib
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ddim_jax.imageio.coded import coded
from ddim_jax.imageio.dicom import library
from ddim_jax.imageio.dicom_geometry import orientation, pixel_spacing, position, slice_thickness
from ddim_jax.imageio.series import DicomStack
from ddim_jax.imageio.stacks import refuse_sources_without
from ddim_jax.imageio.writers import Context
from ddim_jax.runtime.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

NOT_CLINICAL = "NOT FOR CLINICAL USE"
MAKER = "ddim_jax"
_SERIES_NUMBERS = {"dicom-seg": 9001, "dicom-probability": 9002, "dicom-overlay": 9003}
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName"),
)
NO_REFERENCE = "has a header that no other DICOM file can refer to; save the mask as PNG"
_ONE_FRAME, _SEVERAL_FRAMES = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.4"  # secondary captures
_NAMES = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


def check_dicom(kind: str, sources: Sequence[Path]) -> None:
    """Refuses sources of other formats for a kind of result that refers to DICOM files, and missing libraries.

    Raises:
      InputError: the first source that is none, and how many others are none.
    """
    library("highdicom")
    refuse_sources_without("magic", kind, sources, "refers to DICOM files", "are none")


def check_segments(kind: str, sources: Sequence[Path], context: Context) -> None:
    """`check_dicom`, and that each class has a coded concept; errors as that and `ddim_jax.imageio.coded.coded`."""
    check_dicom(kind, sources)
    coded(context.segments, context.labels.class_names)


def about(context: Context) -> dict[str, Any]:
    """The arguments of highdicom's classes that say who made a file."""
    return {
        "manufacturer": MAKER,
        "manufacturer_model_name": MAKER,
        "software_versions": context.software,
        "device_serial_number": context.weights[:16],
    }


def checkpoint_name(context: Context) -> str:
    """The checkpoint's run, or the name of its file, and the step, without the folders that they lie in."""
    place = Path(context.checkpoint)
    run = [place.stem] if place.suffix else [part for part in place.parts[:-1] if part != "checkpoints"][-1:]
    return " ".join([*run, f"step {context.step}"])


def series_uid(kind: str, header: "Dataset", context: Context) -> str:
    """The UID of the series of results of one kind: the same for the same source, checkpoint and options."""
    return _uid(kind, str(header.get("SeriesInstanceUID")), context.weights, repr(context.options))


def instance_uid(series: str, *content: np.ndarray | str) -> str:
    """The UID of a file of results: the same for the same content."""
    digest = hashlib.sha256()
    for part in content:
        digest.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes())
    return _uid(series, digest.hexdigest())


def series_number(kind: str) -> int:
    return _SERIES_NUMBERS[kind]


def finish(dataset: "Dataset", path: Path, context: Context, what: str) -> None:
    """Says in the file what it is and what it is made with, and writes it."""
    dataset.SeriesDescription = f"{context.software} {what}, {NOT_CLINICAL}"[:64]
    dataset.DerivationDescription = (
        f"Made by {context.software} with the checkpoint {checkpoint_name(context)} (SHA-256 {context.weights}), "
        f"{context.options.samples} samples of {context.options.steps} steps. {NOT_CLINICAL}."
    )[:1024]
    dataset.save_as(path, enforce_file_format=True)


def sources_of(stack: DicomStack) -> list["Dataset"]:
    """The headers that results refer to, one a file, with what a reference takes but some scanners leave out.

    Raises:
      DataError: a file does not say which study, series or instance it is.
    """
    headers = []
    for file in stack.files:
        header = next(part.header for part in stack.slices if part.path == file)
        missing = [name for name in _NAMES if not header.get(name)]
        if missing:
            raise DataError(f"{file}: has no {', '.join(missing)}, so that no DICOM file can refer to it.")
        for name in _MAY_BE_EMPTY:
            if name not in header:
                setattr(header, name, None)
        stack.remarks += [remark for remark in _mend_moments(header) if remark not in stack.remarks]
        if "FrameOfReferenceUID" not in header and position(header) is not None:
            # Of the same series the same one, so that its slices stay together.
            header.FrameOfReferenceUID = _uid("frame of reference", str(header.SeriesInstanceUID))
        headers.append(header)
    return headers


def _mend_moments(header: "Dataset") -> list[str]:
    """Takes the dots and colons of old files out of dates and times (PS3.5 6.2); drops others, with a remark."""
    values = library("pydicom.valuerep")
    moments = {"StudyDate": (".", values.DA), "StudyTime": (":", values.TM), "PatientBirthDate": (".", values.DA)}
    remarks = []
    for name, (mark, kind) in moments.items():
        text = str(header.get(name) or "").strip().replace(mark, "")
        try:
            kind(text)
        except ValueError:
            remarks.append(f"{name} left empty in DICOM results (the source's cannot be one)")
            text = ""
        setattr(header, name, text or None)
    return remarks


def spacing(header: "Dataset") -> tuple[list[float], float] | None:
    """Spacing of rows and columns and thickness of slices in millimetres; None where they are no lengths."""
    pair, thickness = pixel_spacing(header), slice_thickness(header)
    return None if pair is None else (pair, thickness or 1.0)


def with_thickness(headers: list["Dataset"], stack: DicomStack) -> list["Dataset"]:
    """The headers of a stack with places; slices that say no thickness get their usual distance, a single one 1 mm.

    A segmentation with places has to have a thickness.
    """
    if all(slice_thickness(part.header, part.frame) for part in stack.slices) or not have_places(stack):
        return headers
    places = np.array([position(part.header, part.frame) for part in stack.slices])
    distance = float(np.median(np.linalg.norm(np.diff(places, axis=0), axis=1))) if stack.count > 1 else 1.0
    for header in headers:
        header.SliceThickness = round(distance, 6)
    return headers


def has_place(header: "Dataset") -> bool:
    """True if the picture has a position and an orientation in the patient."""
    return position(header) is not None and orientation(header) is not None


def have_places(stack: DicomStack) -> bool:
    """True if all slices have a place, each its own, and share their orientation."""
    places = [position(part.header, part.frame) for part in stack.slices]
    turned = [orientation(part.header, part.frame) for part in stack.slices]
    if any(place is None for place in (*places, *turned)):
        return False
    apart = {tuple(np.round(place, 3)) for place in places}
    return len(apart) == len(places) and np.abs(np.array(turned) - turned[0]).max() < 1e-4


def with_class_of_today(header: "Dataset") -> "Dataset":
    """The header, of a retired class as a secondary capture: highdicom knows no others. See `restore_class`."""
    kind = header.SOPClassUID
    if kind.is_private or not kind.is_retired:
        return header
    placed = library("pydicom").Dataset()
    placed.update(header)
    placed.add_new("SOPClassUID", "UI", _ONE_FRAME)
    return placed


def restore_class(dataset: "Dataset", header: "Dataset") -> None:
    """Has a segmentation of `header` alone, or of its series, refer to the class that this has."""
    for element in dataset.iterall():
        if element.keyword == "ReferencedSOPClassUID" and element.value in (_ONE_FRAME, _SEVERAL_FRAMES):
            element.value = header.SOPClassUID


def with_made_up_places(header: "Dataset", count: int) -> "Dataset":
    """The header of a file of several frames that have no place, such as ultrasound, with places one behind another.

    highdicom refers to several frames only where they have places and a class of such files, which scanners do not all
    give them; `remove_places` and `restore_class` take both out of its result again.
    """
    pydicom, highdicom = library("pydicom"), library("highdicom")
    placed = pydicom.Dataset()
    for name in (*_MAY_BE_EMPTY, *_NAMES, "Rows", "Columns", "NumberOfFrames", "Modality", "LossyImageCompression",
                 "LossyImageCompressionRatio", "LossyImageCompressionMethod", "PatientOrientation"):  # fmt: skip
        if name in header:
            placed[name] = copy.copy(header[name])
    placed.SOPClassUID = _SEVERAL_FRAMES
    placed.FrameOfReferenceUID = _uid("no frame of reference", str(header.SOPInstanceUID))
    shared = pydicom.Dataset()
    shared.PlaneOrientationSequence = highdicom.PlaneOrientationSequence("PATIENT", [1, 0, 0, 0, 1, 0])
    shared.PixelMeasuresSequence = highdicom.PixelMeasuresSequence(*(spacing(header) or ([1.0, 1.0], 1.0)))
    placed.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for frame in range(count):
        group = pydicom.Dataset()
        group.PlanePositionSequence = highdicom.PlanePositionSequence("PATIENT", [0.0, 0.0, float(frame)])
        groups.append(group)
    placed.PerFrameFunctionalGroupsSequence = groups
    return placed


def remove_places(dataset: "Dataset") -> None:
    """Takes the places that `with_made_up_places` has made up out of a segmentation; its frames refer to frames."""
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


def _uid(*parts: str) -> str:
    """A UID that follows from the parts (2.25 and a UUID, PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(parts)).int}"

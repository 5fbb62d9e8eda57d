"""Fields common to all DICOM files of results: their maker and sources, and that they are not for clinical use."""

import contextlib
import hashlib
import uuid
from collections.abc import Iterator, Sequence
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ddim_jax.imageio.clinic import errors_naming, library
from ddim_jax.imageio.coded import coded
from ddim_jax.imageio.dicom_geometry import position
from ddim_jax.imageio.series import DicomStack
from ddim_jax.imageio.stacks import refuse_sources_without
from ddim_jax.imageio.writers import Context, declared
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import quantity

if TYPE_CHECKING:
    from pydicom import Dataset

NOT_CLINICAL = "NOT FOR CLINICAL USE"
MAKER = "ddim_jax"
MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName"),
)
_NO_REFERENCE = "has a header that no other DICOM file can refer to; save the mask as PNG"
_TEXTS = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")
NAMES = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


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


def checkpoint_names(context: Context) -> str:
    """The run of each checkpoint, or the name of its file, and its step, without the folders that they lie in."""
    return " + ".join(starmap(_checkpoint_name, context.members or ((context.checkpoint, context.step),)))


def _checkpoint_name(path: str, step: int) -> str:
    place = Path(path)
    run = [place.stem] if place.suffix else [part for part in place.parts[:-1] if part != "checkpoints"][-1:]
    return " ".join([*run, f"step {step}"])


def series_uid(kind: str, header: "Dataset", context: Context) -> str:
    """The UID of the series of results of one kind: the same for the same source, checkpoint and options."""
    # Of two patients, or two studies, whose files share a SeriesInstanceUID there are two.
    of = (str(header.get(name)) for name in ("SeriesInstanceUID", "StudyInstanceUID", "PatientID"))
    return made_uid(kind, *of, context.weights, repr(context.options))


def instance_uid(series: str, *content: np.ndarray | str) -> str:
    """The UID of a file of results: the same for the same content."""
    digest = hashlib.sha256()
    for part in content:
        digest.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes())
    return made_uid(series, digest.hexdigest())


def series_number(kind: str) -> int:
    """The number of the series of results of one kind, which its writer declares."""
    return declared(WRITERS.get(kind), "series_number")


def finish(dataset: "Dataset", path: Path, context: Context, what: str) -> None:
    """Says in the file what it is and what it is made with, and writes it."""
    dataset.SeriesDescription = f"{context.software} {what}, {NOT_CLINICAL}"[:64]
    dataset.DerivationDescription = (
        f"Made by {context.software} with the checkpoint {checkpoint_names(context)[:600]} "
        f"(SHA-256 {context.weights}), "
        f"{quantity(context.options.samples, 'sample')} of {quantity(context.options.steps, 'step')}. {NOT_CLINICAL}."
    )[:1024]
    dataset.save_as(path, enforce_file_format=True)


@contextlib.contextmanager
def referring_to(source: Path) -> Iterator[None]:
    """Turns what a damaged header of `source` makes the libraries raise into a DataError that quotes nothing of it.

    Faults of the disk and want of memory, which writing a result meets too, stay as they are.
    """
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:
        with errors_naming(source, fault=_NO_REFERENCE):
            raise error


def sources_of(stack: DicomStack) -> list["Dataset"]:
    """The headers that results refer to, one a file, with what a reference takes but some scanners leave out.

    Raises:
      DataError: a file does not say which study, series or instance it is, or says several.
    """
    headers = []
    for file in stack.files:
        header = next(part.header for part in stack.slices if part.path == file)
        missing = [name for name in NAMES if not header.get(name)]
        if missing:
            raise DataError(f"{file}: has no {', '.join(missing)}, so that no DICOM file can refer to it.")
        several = [name for name in NAMES if not isinstance(header.get(name), str)]
        if several:
            raise DataError(
                f"{file}: has several values of {', '.join(several)}, expected one; no DICOM file can refer to it. "
                "Save the mask as PNG."
            )
        _decode(header)
        for name in MAY_BE_EMPTY:
            if name not in header:
                setattr(header, name, None)
        stack.remarks += [remark for remark in _mend_moments(header) if remark not in stack.remarks]
        if "FrameOfReferenceUID" not in header and position(header) is not None:
            # Of the same series the same one, so that its slices stay together.
            header.FrameOfReferenceUID = made_uid("frame of reference", str(header.SeriesInstanceUID))
        headers.append(header)
    return headers


def _decode(header: "Dataset") -> None:
    """Has the texts of a header in UTF-8: highdicom does not take all character sets, and names of classes have any."""
    texts = [element for element in header if element.VR in _TEXTS and element.value]
    # Without a set all texts should be ASCII; what others are nobody knows, and their bytes are kept.
    if not header.get("SpecificCharacterSet") and not all(str(element.value).isascii() for element in texts):
        return
    for element in texts:
        several = element.VM > 1
        element.value = [str(value) for value in element.value] if several else str(element.value)
    header.SpecificCharacterSet = "ISO_IR 192"


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


def made_uid(*parts: str) -> str:
    """A UID that follows from the parts (2.25 and a UUID, PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(parts)).int}"

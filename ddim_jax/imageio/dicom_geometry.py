"""Places, directions and lengths in the header of a DICOM file."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ddim_jax.imageio.edges import edges_of, opposite
from ddim_jax.imageio.stacks import PLANES, remarks_on_sides

if TYPE_CHECKING:
    from pydicom import Dataset

_PROJECTIONS = ("CR", "DX", "MG", "RF", "XA")
# CR and below it DX, MG and intraoral; XA, RF and their enhanced kinds.
_PROJECTION_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.{kind}." for kind in ("1", "12.1", "12.2"))
_LENGTHS = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2, "ImagerPixelSpacing": 2,
            "PixelAspectRatio": 2, "SliceThickness": 1, "SpacingBetweenSlices": 1}  # fmt: skip
_GROUPS = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
_CORRECTED = ("GEOMETRY", "FIDUCIAL")
_SAME_DIRECTION = 1e-3  # of a part of a unit vector, which scanners round: .4 mm at the edge of an image of 400 mm
_SAME_SPACING = 1e-4  # as a share: a twentieth of a pixel in 512


def position(header: "Dataset", frame: int = 0) -> np.ndarray | None:
    """The centre of the first pixel of a frame in millimetres, [3], or None where the file does not say."""
    return _numbers(header, frame, "PlanePositionSequence", "ImagePositionPatient", 3)


def orientation(header: "Dataset", frame: int = 0) -> np.ndarray | None:
    """The directions of a frame's rows and columns, [6], or None where the file does not say."""
    return _numbers(header, frame, "PlaneOrientationSequence", "ImageOrientationPatient", 6)


def plane(header: "Dataset") -> str | None:
    """The plane that the first frame is nearest to, one of `PLANES`, or None where the file does not say."""
    found = orientation(header)
    return None if found is None else PLANES[int(np.abs(np.cross(found[:3], found[3:])).argmax())]


def same_directions(one: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    """True for two orientations of slices that can be one volume, or two that are not known."""
    return _alike(one, other, _SAME_DIRECTION, 0.0)


def same_spacing(one: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    """True for two spacings of slices that can be one volume, or two that are not known."""
    return _alike(one, other, 0.0, _SAME_SPACING)


def _alike(one: Sequence[float] | None, other: Sequence[float] | None, most: float, share: float) -> bool:
    if one is None or other is None:
        return one is other
    return all(abs(a - b) <= most + share * abs(b) for a, b in zip(one, other, strict=True))


def pixel_spacing(header: "Dataset", frame: int = 0) -> list[float] | None:
    """Spacing of rows and of columns in millimetres; None where they are no lengths."""
    found = _numbers(header, frame, "PixelMeasuresSequence", "PixelSpacing", 2)
    return found.tolist() if found is not None and found.min() > 0 else None


def lengths(header: "Dataset", frame: int = 0) -> list[float] | None:
    """Spacing of rows and of columns in millimetres, to tell areas and distances by; None where the file says none.

    It is PixelSpacing, or in a projection without one ImagerPixelSpacing, that of the detector.
    """
    found = pixel_spacing(header, frame)
    if found is None and _is_projection(header):
        at_imager = _at_imager(header)
        found = at_imager.tolist() if at_imager is not None and at_imager.min() > 0 else None
    return found


def aspect(header: "Dataset", frame: int = 0) -> float | None:
    """The height of a pixel divided by its width; None where the file does not say."""
    sides = lengths(header, frame) or _aspect_ratio(header)
    return None if sides is None else sides[0] / sides[1]


def _aspect_ratio(header: "Dataset") -> list[float] | None:
    found = _numbers(header, 0, "PixelMeasuresSequence", "PixelAspectRatio", 2)
    return found.tolist() if found is not None and found.min() > 0 else None


def _at_imager(header: "Dataset") -> np.ndarray | None:
    return _numbers(header, 0, "PixelMeasuresSequence", "ImagerPixelSpacing", 2)


def _is_projection(header: "Dataset") -> bool:
    """By its modality or its class, of which a converted or stripped file may lack one."""
    kind = f"{header.get('SOPClassUID', '')}."
    return header.get("Modality") in _PROJECTIONS or kind.startswith(_PROJECTION_CLASSES)


def slice_thickness(header: "Dataset", frame: int = 0) -> float | None:
    """In millimetres; None where it is no length."""
    found = _numbers(header, frame, "PixelMeasuresSequence", "SliceThickness", 1)
    return float(found[0]) if found is not None and found[0] > 0 else None


def _numbers(header: "Dataset", frame: int, group: str, name: str, length: int) -> np.ndarray | None:
    places = [header]
    for sequence, item in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", frame)):
        items = header.get(sequence) or []
        if item < len(items) and items[item].get(group):
            places.append(items[item][group][0])
    return _read(next((place.get(name) for place in reversed(places) if place.get(name)), None), length)


def _read(value: Any, length: int) -> np.ndarray | None:
    """So many numbers; None for none, others, or what is no number."""
    try:
        values = [float(one) for one in ([value] if length == 1 else value or ())]
    except (TypeError, ValueError):
        return None
    return np.array(values) if len(values) == length and np.isfinite(values).all() else None


def drop_unreadable(header: "Dataset") -> list[str]:
    """Takes places, directions and lengths that are no numbers out of a header, and returns their names."""
    places = [header]
    for sequence in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        places += [item[group][0] for item in header.get(sequence) or [] for group in _GROUPS if item.get(group)]
    dropped = []
    for place in places:
        for name, length in _LENGTHS.items():
            if name in place and place.get(name) not in (None, "") and _read(place.get(name), length) is None:
                del place[name]
                dropped.append(name)
    return list(dict.fromkeys(dropped))


def edges(header: "Dataset", frame: int = 0) -> dict[str, str] | None:
    """The letters at the edges of a frame, as `edges_of` has them; None where the file does not say.

    They are of the frame's orientation, or of PatientOrientation, which X-rays have.
    """
    directions = orientation(header, frame)
    if directions is not None:
        return edges_of(directions[:3], directions[3:])
    said = [str(letters) for letters in header.get("PatientOrientation") or ()]
    if len(said) != 2 or not all(re.fullmatch("[RLAPHF]{1,3}", letters) for letters in said):
        return None
    right, bottom = said
    return {"top": opposite(bottom), "right": right, "bottom": bottom, "left": opposite(right)}


def is_at_detector(header: "Dataset") -> bool:
    """True if `lengths` are those of a projection's detector, where the body appears enlarged (PS3.3 10.7.1.3).

    PixelSpacing is that of the body where PixelSpacingCalibrationType says so, or where it differs from
    ImagerPixelSpacing.
    """
    if not _is_projection(header) or lengths(header) is None:
        return False
    if pixel_spacing(header) is None:
        return True
    at_imager = _at_imager(header)
    differs = at_imager is not None and not np.allclose(at_imager, pixel_spacing(header), rtol=1e-3)
    return header.get("PixelSpacingCalibrationType") not in _CORRECTED and not differs


def length_remarks(header: "Dataset") -> list[str]:
    """Remarks on the lengths of a file, as `ddim_jax.imageio.stacks.Stack` has them."""
    remarks, spacing = [], lengths(header)
    if is_at_detector(header):
        name = "ImagerPixelSpacing" if pixel_spacing(header) is None else "PixelSpacing"
        remarks.append(f"lengths at the detector ({name} is not corrected for magnification, the body is smaller)")
    if spacing is None:
        names = ("PixelSpacing", "ImagerPixelSpacing") if _is_projection(header) else ("PixelSpacing",)
        given = [name for name in names if _numbers(header, 0, "PixelMeasuresSequence", name, 2) is not None]
        why = f"{' and '.join(given)} {'are' if given[1:] else 'is'} not above 0"
        why = why if given else f"there is no {' or '.join(names)}"
        remarks.append(f"no areas in mm2 ({why})")
    sides, unit = (spacing, " mm") if spacing else (_aspect_ratio(header), "")
    return remarks + ([] if sides is None else remarks_on_sides(*sides, unit))

"""DICOM files on disk as slices of series: which belong together, and which are shown otherwise by themselves."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ddim_jax.imageio import dicom, dicom_shown
from ddim_jax.imageio.clinic import errors_naming
from ddim_jax.imageio.dicom_geometry import orientation, pixel_spacing, position, same_directions, same_spacing
from ddim_jax.imageio.stacks import file_facts
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import quantity

if TYPE_CHECKING:
    from pydicom import Dataset

NO_POSITION = "no position in the patient (ImagePositionPatient)"
"""In the remark of `group_series`, of files whose order is unknown."""

APART = "share SeriesInstanceUID and differ in"
"""In that remark, of files that are no slices of one volume; behind it what differs, up to a semicolon."""


def group_series(paths: Iterable[str]) -> tuple[list[list[str]], dict[str, str], str]:
    """Groups DICOM files into series of slices.

    Files are of one series if they lie in one folder (or archive), share SeriesInstanceUID and what
    `series_differences` compares, and each has a position and one frame. Others, such as the views of an X-ray, are
    images by themselves; so is what cannot be read, which reading will say.

    Args:
      paths: of DICOM files.

    Returns:
      Lists of paths, in the order of the first of each; the kind of each file that holds no image; and a remark where
      several files of one series are images by themselves, differ, or lie in several folders, else "".
    """
    keys = _Keys()
    groups: dict[object, list[str]] = {}
    without_place: dict[tuple[str, str], list[str]] = {}
    others: dict[str, str] = {}
    for path in paths:
        try:
            header = dicom.read_header(path)
            with errors_naming(path):  # values are decoded when they are asked for
                kind, series = dicom.no_picture(header), str(header.get("SeriesInstanceUID") or "")
                has_place = position(header) is not None or "NumberOfFrames" in header
        except DataError:
            groups[path] = [path]
            continue
        if kind is not None:
            others[path] = kind
        else:
            key = _key_of(path, header)
            groups.setdefault(path if key is None else keys.same(key), []).append(path)
            if series and not has_place:
                without_place.setdefault((os.path.dirname(path), series), []).append(path)
    by_uid: dict[tuple[str, str], list[_SeriesKey]] = {}
    for key in groups:
        if isinstance(key, _SeriesKey):
            by_uid.setdefault((key.folder, key.uid), []).append(key)
    remarks = []
    if several := [files for key, files in without_place.items() if len(files) > 1 or key in by_uid]:
        of_series = f"of {len(several)} DICOM series"
        remarks.append(
            f"{quantity(sum(map(len, several)), f'file {of_series} has', f'files {of_series} have')} {NO_POSITION}, "
            f"such as {several[0][0]}: their order is unknown, so each is an image by itself "
            "and has results of its own, not one for the series"
        )
    if parted := [parts for parts in by_uid.values() if len(parts) > 1]:
        remarks.append(
            f"{quantity(len(parted), 'DICOM series has', 'DICOM series have')} files that are no slices of one volume, "
            f"such as in {parted[0][0].folder}: they {APART} {', '.join(_differing(parted[0]))}; "
            "those that agree are a source by themselves and have results of their own"
        )
    folders: dict[object, list[str]] = {}
    for key in groups:
        if isinstance(key, _SeriesKey):
            folders.setdefault(key._replace(folder=""), []).append(key.folder)
    if apart := [parts for parts in folders.values() if len(parts) > 1]:
        remarks.append(
            f"{quantity(len(apart), 'DICOM series lies', 'DICOM series lie')} in several folders, such as in "
            f"{' and '.join(apart[0][:2])}: the files of each folder are a source by themselves and have results of "
            "their own; put a series into one folder to have it as one"
        )
    return list(groups.values()), others, "; ".join(remarks)


class OwnScale(NamedTuple):
    """A slice of a series as it is shown by itself.

    Attributes:
      key: of its series.
      says_range: the file says how its values become grey levels.
      window: as `ddim_jax.imageio.dicom_shown.own_window` has it.
    """

    key: "_SeriesKey"
    says_range: bool
    window: object


def own_scale(path: str, header: "Dataset") -> OwnScale | None:
    """The scale of a file; None where it is an image by itself, or reading it will say what is wrong."""
    try:
        if (key := _key_of(path, header)) is None:
            return None
        return OwnScale(key, dicom_shown.says_its_range(path, header), dicom_shown.own_window(path, header, 0))
    except Exception:  # of a damaged header, in whatever way the library has
        return None


class OwnScales(NamedTuple):
    """Files of one slice that are shown on other scales of grey by themselves than as slices of their series.

    Attributes:
      reasons: for each such file why it is one.
      windows: files that are the only ones of their series, each with a window of its own, where these differ: others
        of the series may have another. () where they are the same.
    """

    reasons: dict[str, str]
    windows: tuple[str, ...]


def own_scales(paths: Iterable[str]) -> OwnScales:
    """Looks for slices of series that have a scale of grey each, by their headers.

    A series shares the range of its values, or where its windows differ that of the middle slice (`DicomStack`); read
    one by one, each slice has its own. Whatever the folder, and even of one slice, since `sample` may be given all.
    What cannot be read is left out, which reading will say.
    """
    series: dict[object, dict[str, object]] = {}
    reasons, keys = {}, _Keys()
    for path in paths:
        try:
            own = file_facts(path).own_scale
        except DataError:
            continue
        if own is not None:
            series.setdefault(keys.same(own.key)._replace(folder=""), {})[path] = own.window
            if not own.says_range:
                reasons[path] = "says no window"
    for windows in series.values():
        if dicom_shown.differ(windows.values()):
            kinds = set(windows.values())
            reason = f"{len(kinds)} kinds of windows in {len(windows)} slices"
            # With one window, and slices without, it is shared: those that have it are shown alike.
            unlike = [path for path, window in windows.items() if window is None or len(kinds - {None}) > 1]
            reasons = dict.fromkeys(unlike, reason) | reasons
    alone = {path: window for windows in series.values() if len(windows) == 1 for path, window in windows.items()}
    alone = {path: window for path, window in alone.items() if path not in reasons}
    return OwnScales(reasons, tuple(alone) if dicom_shown.differ(alone.values()) else ())


class _SeriesKey(NamedTuple):
    """Equal for the files of one series; `patient` is a digest."""

    folder: str
    uid: str
    patient: str
    study: str
    frame_of_reference: str
    size: tuple[int, int]
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    kind: tuple[str, str]


_ATTRIBUTES = {
    "patient": "the patient (PatientID, PatientName, PatientBirthDate)",
    "study": "StudyInstanceUID",
    "frame_of_reference": "FrameOfReferenceUID",
    "size": "size (Rows, Columns)",
    "orientation": "ImageOrientationPatient",
    "spacing": "PixelSpacing",
    "kind": "EchoNumbers or SOPClassUID",
}


def series_differences(one: "Dataset", other: "Dataset") -> list[str]:
    """The attributes that keep two files from being slices of one volume, [] where they can be.

    They are the patient, the study, the frame of reference and the size; orientation and spacing of pixels but for what
    is rounded.
    """
    keys = _Keys()
    return [name for name in _differing([keys.same(_key("", header)) for header in (one, other)])
            if name not in (_ATTRIBUTES["kind"], "uid")]  # fmt: skip


def _differing(keys: Sequence[_SeriesKey]) -> list[str]:
    """The names of the attributes in which some of the keys differ."""
    fields = _SeriesKey._fields
    return [_ATTRIBUTES.get(name, name) for number, name in enumerate(fields) if len({key[number] for key in keys}) > 1]


def _key_of(path: str, header: "Dataset") -> _SeriesKey | None:
    """The key of a slice of a series; None of an image by itself."""
    try:
        has_place = position(header) is not None and orientation(header) is not None
        if has_place and header.get("SeriesInstanceUID") and dicom.frames(header) == 1:
            return _key(os.path.dirname(path), header)
    except Exception:  # a damaged header: reading it says so
        return None
    return None


def _key(folder: str, header: "Dataset") -> _SeriesKey:
    """The key of a file, whatever it is."""

    def text(name: str) -> str:
        return str(header.get(name) or "").strip()

    directions, spacing = orientation(header), pixel_spacing(header)
    patient = "\0".join(map(text, ("PatientID", "PatientName", "PatientBirthDate")))
    return _SeriesKey(
        folder=folder,
        uid=text("SeriesInstanceUID"),
        patient=hashlib.sha256(patient.encode(errors="replace")).hexdigest(),
        study=text("StudyInstanceUID"),
        frame_of_reference=text("FrameOfReferenceUID"),
        size=(int(header.Rows), int(header.Columns)),
        orientation=None if directions is None else tuple(directions),
        spacing=None if spacing is None else tuple(spacing),
        # Echoes and series of several kinds of reconstruction share a UID with some scanners.
        kind=(text("EchoNumbers"), text("SOPClassUID")),
    )


class _Keys:
    """Keys of series that are equal where those of their files are but for what is rounded."""

    def __init__(self):
        self._known: dict[_SeriesKey, list[_SeriesKey]] = {}

    def same(self, key: _SeriesKey) -> _SeriesKey:
        """The key with the orientation and the spacing of the first one that agrees."""
        # Not by folder: parts of a series in several folders are told of.
        known = self._known.setdefault(key._replace(folder="", orientation=None, spacing=None), [])
        for other in known:
            if same_directions(key.orientation, other.orientation) and same_spacing(key.spacing, other.spacing):
                return other._replace(folder=key.folder)
        known.append(key)
        return key

"""DICOM files of one series made ready to be a stack: without copies, in the order of their positions."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ddim_jax.imageio.archives import open_binary, size_of
from ddim_jax.imageio.clinic import errors_naming
from ddim_jax.imageio.dicom_geometry import drop_unreadable, orientation, position
from ddim_jax.imageio.dicom_grouping import series_differences
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import quantity

if TYPE_CHECKING:
    from pydicom import Dataset

SAME_PLACE = 1e-3
"""Millimetres between slices at one position."""


def drop_damaged(files: Sequence[Path], headers: list["Dataset"]) -> list[str]:
    """Takes damaged places and lengths out of the headers; of these there is a remark."""
    found: dict[str, list[Path]] = {}
    for file, header in zip(files, headers, strict=True):
        with errors_naming(file):
            for name in drop_unreadable(header):
                found.setdefault(name, []).append(file)
    return [
        f"{name} not used (no numbers in {len(where)} of {quantity(len(files), 'file')}, such as {where[0].name})"
        for name, where in found.items()
    ]


def without_copies(
    files: Sequence[Path], headers: list["Dataset"], remarks: list[str]
) -> tuple[list[Path], list["Dataset"]]:
    """The files but for exact copies of others, byte for byte; of these there is a remark."""
    first: dict[str, Path] = {}
    kept, copies = [], []
    for number, (file, header) in enumerate(zip(files, headers, strict=True)):
        with errors_naming(file):
            other = first.setdefault(str(header.get("SOPInstanceUID") or file), file)
            if other is not file and _same_bytes(other, file):
                copies.append((file, other))
            else:
                kept.append(number)
    if copies:
        some = f"such as {copies[0][0].name} of {copies[0][1].name}"
        remarks.append(f"copies left out ({quantity(len(copies), 'file')}, {some})")
    return [files[number] for number in kept], [headers[number] for number in kept]


def _same_bytes(one: Path, other: Path) -> bool:
    if size_of(one) != size_of(other):
        return False
    with open_binary(one) as left, open_binary(other) as right:
        while (part := left.read(2**20)) == right.read(2**20):
            if not part:
                return True
    return False


def in_order(files: Sequence[Path], headers: list["Dataset"], remarks: list[str]) -> tuple[list[Path], list["Dataset"]]:
    """The files in the order of their positions along the normal of the slices; of missing ones there is a remark.

    Raises:
      DataError: two are at one place, or are not of one volume (`series_differences`); the files are named.
    """
    along = []
    for file, header in zip(files, headers, strict=True):
        with errors_naming(file):
            directions, place = orientation(headers[0]), position(header)
            if place is None or directions is None:
                raise DataError(
                    f"{file}: has no position (ImagePositionPatient), so its place in the series is unknown."
                )
            if unlike := series_differences(headers[0], header):
                raise DataError(
                    f"{file}: differs from {files[0]} in {', '.join(unlike)}; expected slices of one volume. Segment "
                    "them separately."
                )
            along.append(float(np.cross(directions[:3], directions[3:]) @ place))
    order = sorted(range(len(files)), key=lambda number: (along[number], str(files[number])))
    files, headers = [files[number] for number in order], [headers[number] for number in order]
    steps = np.diff([along[number] for number in order])
    doubled = [number for number, step in enumerate(steps) if step < SAME_PLACE]
    if doubled:
        first = doubled[0]
        uids = {str(header.get("SOPInstanceUID") or number) for number, header in enumerate(headers[first : first + 2])}
        what = "both say that they are the same (SOPInstanceUID) and differ: keep one of them."
        if len(uids) > 1:
            what = "a series of several times or contrasts is no stack: give each in a folder of its own."
        raise DataError(
            f"{files[first]} and {files[first + 1]}: two slices of one series at one position "
            f"({quantity(len(doubled), 'such pair')}); {what}"
        )
    usual = float(np.median(steps))
    times = steps / usual
    gaps = np.flatnonzero((times >= 1.5) & (np.abs(times - np.round(times)) <= 0.25))
    if gaps.size:  # each slice is segmented by itself: those that are there can be
        remarks.append(
            f"slices missing (in {quantity(len(gaps), 'place')}, such as behind slice {gaps[0] + 1}: "
            f"{steps[gaps[0]]:.4g} mm to the next, {usual:.4g} mm between the others)"
        )
    return files, headers

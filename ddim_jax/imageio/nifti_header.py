"""The header of a NIfTI file, and the order of its axes that shows slices upright."""

import contextlib
import gzip
import io
import itertools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ddim_jax.imageio.archives import open_binary
from ddim_jax.imageio.clinic import library
from ddim_jax.imageio.images import AGAIN
from ddim_jax.imageio.signatures import suffix_of_content, told_of
from ddim_jax.imageio.stacks import ABOUT_EQUAL, PLANES, remarks_on_sides
from ddim_jax.runtime.errors import DataError

_HEADER_BYTES = 2**20
_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}
_TIMES = (0, 8, 16, 24, 32, 40, 48)


def is_packed(path: Path) -> bool:
    """Returns True if the name says that the file is compressed."""
    return path.name.lower().endswith(".gz")


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """The open file, decompressed as it is read."""
    with open_binary(path) as file, gzip.GzipFile(fileobj=file) if is_packed(path) else file as unpacked:
        yield unpacked


def read_header(path: Path) -> Any:
    """The header of a NIfTI-1 or NIfTI-2 file, without extensions."""
    nibabel = library("nibabel")
    with open_binary(path) as file:
        start = file.read(540)
        if start and start.startswith(b"\x1f\x8b") != is_packed(path):
            how = "is named .gz and not compressed" if is_packed(path) else "is not named .gz and compressed"
            raise DataError(f"{path}: {how}{told_of(start)}; rename it if it is NIfTI, else {AGAIN}.")
        if is_packed(path):
            file.seek(0)
            start = gzip.GzipFile(fileobj=file).read(540)
    if not start:
        raise DataError(f"{path}: the file is empty (0 bytes).")
    sizes = {struct.unpack(order, start[:4])[0] for order in ("<i", ">i")} if len(start) >= 348 else set()
    if sizes & {348}:
        header = nibabel.Nifti1Header.from_fileobj(io.BytesIO(start[:348]))
    elif sizes & {540} and len(start) == 540:
        header = nibabel.Nifti2Header.from_fileobj(io.BytesIO(start))
    else:
        told = "" if suffix_of_content(start) == ".nii" else told_of(start)  # one that is cut in its header
        raise DataError(f"{path}: is no NIfTI file{told}; expected a header of 348 bytes (NIfTI-1) or 540 (NIfTI-2).")
    if header["magic"].item()[:3] not in (b"n+1", b"n+2"):
        raise DataError(f"{path}: its values are in another file (.img), expected them in one .nii file.")
    if not 348 <= float(header["vox_offset"]) <= _HEADER_BYTES:
        raise DataError(
            f"{path}: its values would begin at byte {float(header['vox_offset']):g} (vox_offset), expected 352 or a "
            f"little more; {AGAIN}."
        )
    return header


def upright_axes(
    affine: np.ndarray, dims: tuple[int, int, int], slice_axis: int | None = None
) -> tuple[tuple[int, int, int], tuple[bool, bool, bool], str]:
    """The axes of the file that become slices, rows and columns, which of them run the other way, and the plane.

    Slices lie across an axis of one voxel; else across the axis whose spacing is the odd one out (`_odd_one`), or,
    where none is, across `slice_axis` of the header's dim_info; else they are axial.
    """
    orientations = library("nibabel.orientations").io_orientation(affine)
    if np.isnan(orientations).any():
        raise ValueError("an axis has no direction")
    of_world = {
        int(world): axis for axis, (world, _) in enumerate(orientations)
    }  # 0 left-right, 1 front-back, 2 height
    signs = orientations[:, 1]  # +1 towards right, front, head
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if thin := [axis for axis in range(3) if dims[axis] == 1]:
        slices = max(thin, key=lambda axis: int(orientations[axis, 0]))  # the height first
    else:
        slices = next(axis for axis in (_odd_one(spacing), slice_axis, of_world[2]) if axis is not None)
    rows = next(of_world[world] for world in (2, 1) if of_world[world] != slices)
    (columns,) = {0, 1, 2} - {slices, rows}
    flips = []
    for axis in (slices, rows, columns):
        upwards = axis == slices and int(orientations[axis, 0]) == 2
        flips.append(bool(signs[axis] < 0) if upwards else bool(signs[axis] > 0))
    return (slices, rows, columns), (flips[0], flips[1], flips[2]), PLANES[int(orientations[slices, 0])]


def _odd_one(spacing: np.ndarray) -> int | None:
    """The axis of the largest spacing, if it is farther from the middle one than that is from the smallest; that of
    the smallest, if the others are alike; else None."""
    smallest, middle, largest = (int(axis) for axis in np.argsort(spacing))
    below, above = spacing[middle] / spacing[smallest], spacing[largest] / spacing[middle]
    if above > below * ABOUT_EQUAL:
        return largest
    return smallest if below > ABOUT_EQUAL >= above else None


def is_oriented(header: Any) -> bool:
    """True if a header says how the voxels lie in the patient."""
    return int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0


def millimetres(header: Any) -> float | None:
    """Millimetres of a file's unit of length; None where the lengths of xyzt_units have no code of the standard."""
    return _MILLIMETRES.get(_unit(header))


def six_digits(length: float) -> float:
    """A length, an area or a volume of the affine without the noise of its float32: 0.7, not 0.699999988079071."""
    return float(f"{length:.6g}")


def _unit(header: Any) -> int:
    """The code of the unit of length: three bits, beside those of time, of which nothing is asked."""
    return int(header["xyzt_units"]) & 0b111


def qform_remarks(path: Path, header: Any, affine: np.ndarray, dims: tuple[int, int, int]) -> list[str]:
    """A remark where the qform of a file puts it elsewhere than its sform, which is the one that is used.

    Raises:
      DataError: they show it turned or mirrored against each other, so that left and right are in doubt.
    """
    if min(int(header["sform_code"]), int(header["qform_code"])) <= 0:
        return []
    try:
        other = np.asarray(header.get_qform(), np.float64)
        codes = [", ".join(library("nibabel").aff2axcodes(one)) for one in (affine, other)]
    except Exception:  # a qform that is no map, which programs that read it refuse
        return []
    corners = np.array(list(itertools.product(*((0, side - 1) for side in dims), (1,))))
    apart = float(np.linalg.norm(corners @ (affine - other).T, axis=1).max())
    if apart <= 0.5 * np.linalg.norm(affine[:3, :3], axis=0).min():
        return []
    if codes[0] != codes[1]:
        raise DataError(
            f"{path}: its sform (code {int(header['sform_code'])}) says that the axes run towards {codes[0]}, its "
            f"qform (code {int(header['qform_code'])}) towards {codes[1]}; expected the same, since one of the two "
            "would show it mirrored or turned. Set the code of the wrong one to 0, or make them agree."
        )
    return [f"sform and qform differ (by up to {apart:.3g} at a corner; the sform is used)"]


def remarks_of(header: Any, affine: np.ndarray, axes: tuple[int, int, int], plane: str | None) -> list[str]:
    """Remarks on a file, as `ddim_jax.imageio.stacks.Stack` has them; with the results of `upright_axes`."""
    remarks = []
    if not is_oriented(header):
        remarks.append("no orientation (sform and qform codes are 0; left and right are assumed)")
    spacing = np.linalg.norm(affine[:3], axis=0)[:3]
    if plane not in (None, "axial"):
        sides = " x ".join(f"{side:.3g}" for side in spacing)
        remarks.append(f"slices are {plane} (across axis {axes[0] + 1}; spacings {sides})")
    unit = millimetres(header)
    remarks += remarks_on_sides(*spacing[list(axes[1:])] * (unit or 1), "" if unit is None else " mm")
    if unit is None:
        how = "if they are mm: img.header.set_xyzt_units('mm') in nibabel, and save it"
        remarks.append(f"no areas in mm2 (xyzt_units says no unit of lengths; {how})")
    return remarks


def result_header(source: Any, kind: np.dtype, about: str) -> Any:
    """The header of values of `kind` in the place of `source`, without its texts, which may name the patient."""
    header = source.copy()
    header.set_data_dtype(kind)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    header.set_intent("none")
    unit = _unit(header)
    if (unit and unit not in _MILLIMETRES) or int(header["xyzt_units"]) - unit not in _TIMES:
        header["xyzt_units"] = unit if unit in _MILLIMETRES else 0  # other codes stop programs that read the result
    for name in {"data_type", "db_name", "aux_file"} & set(header.keys()):
        header[name] = b""
    header["descrip"] = about.encode()[:79]
    header.extensions.clear()
    return header

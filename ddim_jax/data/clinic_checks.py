"""Checks that the DICOM and NIfTI files of a data set are shown alike."""

from collections.abc import Iterable
from pathlib import Path

from absl import logging

from ddim_jax.data.sources import data_error
from ddim_jax.imageio.dicom_grouping import own_scales
from ddim_jax.imageio.images import reader_of
from ddim_jax.imageio.stacks import file_facts
from ddim_jax.registry import READERS
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.once import say_once
from ddim_jax.runtime.values import quantity


def check_ranges(root: Path, images: Iterable[Path]) -> None:
    """Refuses slices of a series that would have a scale of grey levels each, and share one in inference.

    Slices that may be such by what the data set shows of their series are logged.

    Raises:
      DataError: some of `images` are such; up to ten are named.
    """
    dicom = READERS.get("dicom")
    found = own_scales(str(image) for image in images if reader_of(image) is dicom)
    if found.reasons:
        raise data_error(
            f"{root}: {len(found.reasons)} DICOM files are single slices of a series and would each be shown on a "
            "scale of grey of their own, where ddim-jax sample gives a whole series one; set data.window (centre and "
            "width), save each series as one NIfTI file, or images as PNG, here and for ddim-jax sample:",
            [f"{path}: {reason}" for path, reason in sorted(found.reasons.items())],
        )
    if found.windows:
        say_once(
            logging.warning,
            f"{root}: {len(found.windows)} DICOM files are the only slices of their series here, and their windows "
            f"differ, such as that of {found.windows[0]}. Each is shown with its own, where ddim-jax sample gives all "
            "slices of a series that of the middle one; set data.window to have one for all.",
        )


def check_planes(root: Path, volumes: Iterable[Path]) -> None:
    """Refuses volumes whose slices lie in different planes; one plane that is not axial is logged.

    Raises:
      DataError: they do; each plane is told with the number of its volumes and one of them.
    """
    of_plane: dict[str, list[Path]] = {}
    for volume in volumes:
        if (plane := file_facts(volume).plane) is not None:
            of_plane.setdefault(plane, []).append(volume)
    if len(of_plane) > 1:
        found = [f"{len(files)} {plane} (such as {files[0]})" for plane, files in sorted(of_plane.items())]
        raise DataError(
            f"{root}: the slices of its volumes lie in different planes, {', '.join(found)}; expected one plane. A "
            "NIfTI file is cut across the axis whose spacing is the odd one out, without such across the slice axis "
            "of its dim_info, else axially. Resample the volumes to like spacings, or train on those of one plane."
        )
    for plane, files in of_plane.items():
        if plane != "axial":
            say_once(logging.info, f"{root}: the slices of {quantity(len(files), 'volume')} are {plane}")


def tell_of_ranges(root: Path, images: Iterable[Path]) -> None:
    """Logs that NIfTI images are shown by the range of their values, where DICOM files have a window of their own."""
    nifti = READERS.get("nifti")
    found = [image for image in images if reader_of(image) is nifti and file_facts(image).by_range]
    if found:
        told = quantity(len(found), "NIfTI image is", "NIfTI images are each")
        say_once(
            logging.warning,
            f"{root}: {told} shown by the range of its values, such as {found[0]}. A NIfTI file has no window, and "
            "ddim-jax sample shows DICOM files by theirs, in other grey levels: set data.window (centre and width) if "
            "the network is to be applied to DICOM.",
        )

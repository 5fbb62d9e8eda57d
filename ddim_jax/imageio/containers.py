"""Files that hold others: zip archives of DICOM and NIfTI files, and DICOMDIR."""

import os
from collections.abc import Callable
from pathlib import Path

from absl import logging

from ddim_jax.imageio import archives, dicom
from ddim_jax.imageio.clinic import errors_naming
from ddim_jax.imageio.images import name_without_suffix
from ddim_jax.registry import READERS
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import quantity


def files_inside(path: str | os.PathLike, pass_over: Callable[[str], None] = lambda file: None) -> list[Path] | None:
    """The DICOM and NIfTI files that a zip archive holds, or those that a DICOMDIR lists, sorted; None for other files.

    Args:
      path: of an existing file.
      pass_over: called with every other file of an archive.

    Raises:
      DataError: the file is damaged, or there is no such file in it. Files that a DICOMDIR lists and that are not
        there are logged.
    """
    path = Path(path)
    if path.suffix.lower() == archives.SUFFIX:
        found, kind = [], "DICOM or NIfTI"
        suffixes = (*READERS.get("dicom").suffixes, *READERS.get("nifti").suffixes)
        for name in archives.members(path):
            member = path / name
            if name.lower().endswith(suffixes) or name_without_suffix(member) == "dicom":
                found.append(member)
            elif member.name.upper() != "DICOMDIR":
                pass_over(os.fspath(member))
    elif path.name.upper() == "DICOMDIR":
        found, kind = _listed(path), "DICOM"
    else:
        return None
    if not found:
        more = " Unpack it: other images are read from folders." if kind != "DICOM" else ""
        raise DataError(f"{path}: holds no {kind} files.{more}")
    return found


def _listed(path: Path) -> list[Path]:
    header = dicom.read_header(path)
    with errors_naming(path):
        listed = []
        for record in header.get("DirectoryRecordSequence") or []:
            if "ReferencedFileID" in record:
                names = record.ReferencedFileID
                listed.append((names,) if isinstance(names, str) else tuple(names))
        if any(part in ("", ".", "..") or "/" in part for names in listed for part in names):
            raise DataError(f"{path}: lists a file outside of its folder.")
    files = sorted({path.parent.joinpath(*names) for names in listed})
    there = [file for file in files if file.is_file()]
    if len(there) < len(files):
        missing = next(file for file in files if file not in there)
        gone = quantity(len(files) - len(there), "file is", "files are")
        logging.warning("%s: %s not there that it lists, such as %s", path, gone, missing)
    return there

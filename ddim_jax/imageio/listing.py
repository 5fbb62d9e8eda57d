"""The images of a folder or a glob, in an order that does not depend on the file system."""

import contextlib
import errno
import glob
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from absl import logging

from ddim_jax.imageio.containers import files_inside
from ddim_jax.imageio.images import image_suffixes, name_by_content, suffix_of
from ddim_jax.runtime.errors import DataError

# What macOS adds to archives, and what the root of a disk has, which a user may not even read.
_SYSTEM_FOLDERS = {"__MACOSX", "lost+found", "System Volume Information", "$RECYCLE.BIN"}
IMAGE_FOLDERS = ("images", "image")
MASK_FOLDERS = ("masks", "mask", "annotations", "annotation")
_NOTHING_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}


def list_images(path: str | os.PathLike) -> list[Path]:
    """`iterate_images` as a list."""
    return list(iterate_images(path))


def kind_of(file: str) -> str:
    """A file by its suffix, in small letters with the dot, "" for none; pipes, devices and sockets by that as well."""
    suffix = suffix_of(file, ()).lower()
    try:
        return suffix if stat.S_ISREG(os.stat(file).st_mode) else f"{suffix} (a pipe, a device or a socket)".lstrip()
    except OSError:
        return suffix


def iterate_images(path: str | os.PathLike, pass_over: Callable[[str], None] = lambda file: None) -> Iterator[Path]:
    """Finds images: a file as it is, a folder searched through and through, or a glob (`**` goes into folders).

    Of a zip archive and of a DICOMDIR, the DICOM and NIfTI files in it (`ddim_jax.imageio.containers.files_inside`).

    Folders and globs give files with a suffix that a reader has registered for (in upper or lower case), or without a
    suffix where a reader knows their content, sorted;
    hidden files and folders (a leading dot) are left out; so are links to folders below the one given, which is told.
    What has such a name and cannot be looked at (a link to nothing, no permission) is given as well, so that reading it
    says what is wrong. Of a folder, the names in one of its folders at a time are in memory (with those of the folders
    above it that are still to come); of a glob, all it matches.

    Args:
      path: a file, a folder or a glob.
      pass_over: called with every file of a folder or a glob that is not hidden and has no such suffix, and with what
        is no regular file (a pipe, a device or a socket).

    Raises:
      DataError: nothing is there, or no image among it, or a folder below may not be read.
    """
    text, path = os.fspath(path), Path(path)
    suffixes = image_suffixes()

    def wanted(file: Path, entry: os.DirEntry | None = None) -> bool:
        if _is_image(file, suffixes, entry):
            return True
        if not file.name.startswith(".") and (entry is not None or (file.exists() and not file.is_dir())):
            if not file.name.lower().endswith(suffixes) and file.is_file() and name_by_content(file):
                return True
            others[kind_of(os.fspath(file))] += 1
            pass_over(os.fspath(file))
        return False

    others: Counter[str] = Counter()

    is_pattern = glob.has_magic(text) and not os.path.lexists(path)
    if os.path.isfile(path) or (not is_pattern and _is_image(path, suffixes)):
        inside = files_inside(path, pass_over) if os.path.isfile(path) else None
        yield from [path] if inside is None else inside
        return
    if os.path.isdir(path):
        found, where = _images_below(path, wanted), f"folder {text} holds"
    elif is_pattern:
        found, where = _images_matching(text, wanted), f"glob {text} matches"
    else:
        there = False
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):
            os.stat(path)  # what else stands in the way is said by itself
            there = True
        if there:
            raise DataError(f"{text}: is a pipe, a device or a socket; copy what it gives into a file.")
        raise DataError(f"{text}: no such file or folder.")
    nothing = True
    for file in found:
        nothing = False
        yield file
    if nothing:
        held = ", ".join(f"{kind or 'no suffix'} {number}" for kind, number in sorted(others.items()))
        there = f" (but other files: {held})" if held else ""
        raise DataError(f"The {where} no images{there}; expected files ending in {', '.join(suffixes)}.")


def unreadable_folder(error: OSError) -> NoReturn:
    """For `os.walk`, which passes over a folder that may not be read.

    Raises:
      DataError: naming the folder.
    """
    raise DataError(f"{error.filename}: the folder cannot be read ({error.strerror}).") from error


def images_beside(folder: str) -> str | None:
    """The folder of images beside a folder of masks (of one annotator: masks_1); None for any other folder."""
    place, name = os.path.split(folder)
    if name.lower().rstrip("_-0123456789") not in MASK_FOLDERS:
        return None
    try:
        with os.scandir(place) as entries:
            found = [entry.path for entry in entries if entry.name.lower() in IMAGE_FOLDERS and _is_folder(entry)]
    except OSError:  # of an archive
        return None
    return min(found, default=None)


def worth_entering(folders: Iterable[str]) -> list[str]:
    """The names of folders that may hold a user's images, sorted: neither hidden ones nor those of the system."""
    return sorted(name for name in folders if not name.startswith(".") and name not in _SYSTEM_FOLDERS)


def _images_below(folder: Path, wanted: Callable[..., bool]) -> Iterator[Path]:
    """Images in the order of sorted paths, part by part: what is in the folder "a" comes before the file "a.png"."""
    opened = [(folder, _names_in(folder, wanted))]
    while opened:
        place, names = opened[-1]
        if not names:
            opened.pop()
        elif (name := names.pop()).endswith("\0"):
            below = place / name[:-1]
            opened.append((below, _names_in(below, wanted)))
        else:
            yield place / name


def _names_in(folder: Path, wanted: Callable[..., bool]) -> list[str]:
    """Names of the images in a folder and, with a zero at the end, of folders worth entering; the last one first."""
    names, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not _is_folder(entry):
                    names += [entry.name] if wanted(folder / entry.name, entry) else []
                elif not entry.is_symlink():
                    folders.append(entry.name)
                elif worth_entering([entry.name]):
                    linked = folder / entry.name
                    logging.warning("%s is a link to a folder and not searched; give it as well if it is meant", linked)
    except OSError as error:
        unreadable_folder(error)
    names += (name + "\0" for name in worth_entering(folders))
    names.sort(reverse=True)
    return names


def _images_matching(pattern: str, wanted: Callable[..., bool]) -> Iterator[Path]:
    """Images in the same order."""
    found = (Path(name) for name in glob.iglob(pattern, recursive=True))
    # With a zero, which is below every other character, for the slash, texts are ordered as paths are, part by part.
    names = [os.fspath(file).replace(os.sep, "\0") for file in found if wanted(file)]
    names.sort(reverse=True)
    while names:
        yield Path(names.pop().replace("\0", os.sep))


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_image(file: Path, suffixes: tuple[str, ...], entry: os.DirEntry | None = None) -> bool:
    if not file.name.lower().endswith(suffixes) or file.name.startswith("."):
        return False
    try:
        if entry is not None and entry.is_file(follow_symlinks=False):
            return True  # as the folder says, without a question to the file system about each file
        return stat.S_ISREG(os.stat(file).st_mode)
    except OSError as error:
        return error.errno not in _NOTHING_THERE or os.path.islink(file)
    except ValueError:  # a zero in the name
        return False

"""The images of a folder or a glob, in an order that does not depend on the file system.

Links to files are followed. So are links to folders, but for those into a folder that is searched already, and those
that lead back up, which would have no end: the log counts and names these.
"""

import contextlib
import errno
import fnmatch
import glob
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from absl import logging

from ddim_jax.imageio.containers import files_inside
from ddim_jax.imageio.images import image_suffixes, name_without_suffix, suffix_of
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.once import say_once
from ddim_jax.runtime.values import first_names, quantity

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
    suffix where a reader knows their content, sorted; hidden files and folders (a leading dot) are left out.
    What has such a name and cannot be looked at (a link to nothing, no permission) is given as well, so that reading it
    says what is wrong. Of a folder, the names in one of its folders at a time are in memory (with those of the folders
    above it that are still to come); of a glob without `**`, all it matches.

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
        if is_image(file, suffixes, entry):
            return True
        if not file.name.startswith(".") and (entry is not None or (file.exists() and not file.is_dir())):
            if not file.name.lower().endswith(suffixes) and name_without_suffix(file):
                return True
            others[kind_of(os.fspath(file))] += 1
            pass_over(os.fspath(file))
        return False

    others: Counter[str] = Counter()

    is_pattern = glob.has_magic(text) and not os.path.lexists(path)
    if os.path.isfile(path) or (not is_pattern and is_image(path, suffixes)):
        inside = files_inside(path, pass_over) if os.path.isfile(path) else None
        yield from [path] if inside is None else inside
        return
    if os.path.isdir(path):
        found, where = (file for file, is_file in walk(path, wanted) if is_file), f"folder {text} holds"
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


def walk(folder: Path, wanted: Callable[[Path, os.DirEntry], bool]) -> Iterator[tuple[Path, bool]]:
    """Every folder that is searched, `folder` itself first, and every wanted file in it, each with True for a file.

    They come in the order of sorted paths, part by part: what is in the folder "a" comes before the file "a.png".

    Args:
      folder: to search.
      wanted: is asked of each file, by its path and its entry.

    Raises:
      DataError: a folder may not be read.
    """
    searched = _Searched(folder)
    yield folder, False
    opened = [(folder, _names_in(folder, wanted))]
    while opened:
        place, names = opened[-1]
        if not names:
            opened.pop()
        elif (name := names.pop()).endswith("\0"):
            below = place / name[:-1]
            if searched.enters(below):
                yield below, False
                opened.append((below, _names_in(below, wanted)))
        else:
            yield place / name, True
    if left_out := searched.left_out:
        say_once(
            logging.warning,
            f"{folder}: {quantity(len(left_out), 'link to a folder is', 'links to folders are')} not followed, leading "
            f"into a folder that is searched already, or back up: {first_names(left_out)}",
        )


def _names_in(folder: Path, wanted: Callable[[Path, os.DirEntry], bool]) -> list[str]:
    """Names of the images in a folder and, with a zero at the end, of folders worth entering; the last one first."""
    names, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_folder(entry):
                    folders.append(entry.name)
                elif wanted(folder / entry.name, entry):
                    names.append(entry.name)
    except OSError as error:
        raise DataError(f"{error.filename}: the folder cannot be read ({error.strerror}).") from error
    names += (name + "\0" for name in worth_entering(folders))
    names.sort(reverse=True)
    return names


class _Searched:
    """The folders that a search begins at, the one given and those that links lead to, by their real paths.

    Attributes:
      left_out: the links to folders that were not followed.
    """

    def __init__(self, folder: Path):
        self.left_out: list[str] = []
        self._entered = {Path(os.path.realpath(folder))}

    def enters(self, folder: Path) -> bool:
        """True for a folder that is to be searched; where that is by a link, it counts as entered from now on.

        A link is left out where it leads into an entered folder, which is searched without it, or back up; what is no
        link, where a link has led there before.
        """
        if not folder.is_symlink():
            return len(self._entered) == 1 or Path(os.path.realpath(folder)) not in self._entered
        real, place = Path(os.path.realpath(folder)), Path(os.path.realpath(folder.parent))
        if real in (place, *place.parents) or not self._entered.isdisjoint((real, *real.parents)):
            self.left_out.append(os.fspath(folder))
            return False
        self._entered.add(real)
        return True


def _images_matching(pattern: str, wanted: Callable[..., bool]) -> Iterator[Path]:
    """Images in the same order."""
    parts = Path(pattern).parts
    if "**" not in parts:
        # With a zero, which is below every other character, for the slash, texts are ordered as paths are, by parts.
        names = (os.fspath(file).replace(os.sep, "\0") for file in map(Path, glob.iglob(pattern)) if wanted(file))
        yield from (Path(name.replace("\0", os.sep)) for name in sorted(names))
        return
    # From ** on, the library follows every combination of links that lead back up.
    first = parts.index("**")
    begun = glob.iglob(os.fspath(Path(*parts[:first]))) if first else [""]
    for folder in sorted(filter(Path.is_dir, map(Path, begun))):

        def matching(file: Path, entry: os.DirEntry, folder: Path = folder) -> bool:
            return _fits(file.relative_to(folder).parts, parts[first:]) and wanted(file, entry)

        yield from (file for file, is_file in walk(folder, matching) if is_file)


def _fits(names: Sequence[str], parts: Sequence[str]) -> bool:
    """True if the names of a path match the parts of a glob, ** any number of folders; both have no hidden ones."""
    if not parts or not names:
        return not names and all(part == "**" for part in parts)
    if parts[0] == "**":
        return _fits(names, parts[1:]) or _fits(names[1:], parts)
    return fnmatch.fnmatchcase(names[0], parts[0]) and _fits(names[1:], parts[1:])


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_image(file: Path, suffixes: tuple[str, ...], entry: os.DirEntry | None = None) -> bool:
    """True for a file with one of the suffixes that is no pipe, device or socket, or that cannot be looked at."""
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

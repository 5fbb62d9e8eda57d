"""The index of an output folder while several processes write it: a part for each, merged when nobody is at work.

One process alone appends to `index.jsonl` itself. Process I of N appends to `index.<I>-of-<N>.jsonl`. A process holds
the lock of the file it appends to for as long as it runs, so a file whose lock is free belongs to nobody, or to a
process that was killed. Files are locked, merged and removed only under `alone`, so that these answers still hold when
they are acted on.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import logging

from ddim_jax.inference.lines import Lines
from ddim_jax.inference.processes import Process
from ddim_jax.runtime.atomic import atomic_path
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.locks import locked, try_lock
from ddim_jax.runtime.mounts import locks_of_one_host

INDEX = "index.jsonl"
_LOCK = ".index.lock"
_PART = re.compile(r"index\.([0-9]+)-of-([0-9]+)\.jsonl")
_PARTIAL = re.compile(r"\..*\.partial\.[^.]*")  # as `atomic_path` names files


def check_locks(folder: Path, process: Process) -> None:
    """Checks, without making anything, that several processes would see each other's locks in a folder.

    Raises:
      InputError: there are several, and the file system may keep its locks to one host.
    """
    mount = locks_of_one_host(folder) if process.count > 1 else None
    if mount is not None:
        raise InputError(
            f"{folder} lies on {mount.point} ({mount.kind}), whose locks may be known to one machine only: several "
            "processes would not see each other there. Give a folder on another file system, or start one process alone"
        )


def part_name(process: Process) -> str:
    """The file a process appends to."""
    return INDEX if process.count == 1 else f"index.{process.index}-of-{process.count}.jsonl"


def alone(folder: Path, *, required: bool = True) -> contextlib.AbstractContextManager[None]:
    """Keeps the other processes of a folder from starting and ending meanwhile; as `locked`."""
    return locked(folder / _LOCK, required=required)


def find_parts(folder: Path) -> list[Path]:
    """The parts that were not merged yet, sorted."""
    # Entry by entry: pathlib makes a list of all, and there may be millions of results.
    with os.scandir(folder) as entries:
        return sorted(folder / entry.name for entry in entries if _PART.fullmatch(entry.name))


def held_files(folder: Path) -> list[str]:
    """The names of the files that processes at work append to; only under `alone`."""
    return [path.name for path in (folder / INDEX, *find_parts(folder)) if _is_held(path)]


def check_free(folder: Path, process: Process) -> bool:
    """Checks that this process may start; only under `alone`.

    Returns:
      Whether nobody else is at work in the folder.

    Raises:
      InputError: somebody is this process already, or is one of another number of processes, which divide the images
        otherwise.
    """
    held = held_files(folder)
    for name in held:
        part = _PART.fullmatch(name)
        count = int(part[2]) if part else 1
        if name == part_name(process) or count != process.count:
            run = "another run" if count == 1 else f"process {part[1]} of {count}"
            this = f", and this is {process}" if max(count, process.count) > 1 else ""
            raise InputError(
                f"{folder}: {run} is at work there ({name} is in use){this}; wait until it ends, or use another output "
                "folder"
            )
    return not held


def remove_partial(folder: Path) -> None:
    """Removes what killed runs were writing, results in any folder below and records here; only with nobody at work.

    Where the locks of another host are not seen, one may be at work all the same: there they stay, with a warning.
    """
    found = list(_find_partial(folder))  # a few for each process that was killed
    mount = locks_of_one_host(folder) if found else None
    if mount is not None:
        logging.warning(
            "%s: %d unfinished files (.*.partial.*) stay, for a run on another machine may be writing them, which "
            "locks on %s do not tell. Remove them when no run is at work",
            *(folder, len(found), mount.kind),
        )
        return
    for path in found:
        path.unlink()


def _find_partial(folder: Path) -> Iterator[Path]:
    folders = [folder]
    while folders:
        place = folders.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(place / entry.name)
                    elif _PARTIAL.fullmatch(entry.name) and (place == folder or entry.name.endswith(".png")):
                        yield place / entry.name
        except PermissionError:
            if place == folder:
                raise
            # Not a folder of results, such as lost+found at the root of a disk.


def merge(folder: Path) -> None:
    """Makes one `index.jsonl` of itself and the parts, sorted by name; only under `alone`, with nobody at work.

    The new file replaces the old one before the parts are removed: stopped at any point, merging can begin anew. Where
    there is something to sort, every name is in memory meanwhile.

    Raises:
      InputError: a line is damaged.
    """
    with contextlib.ExitStack() as stack:
        paths = folder / INDEX, *find_parts(folder)
        sources = [stack.enter_context(contextlib.closing(Lines(path))) for path in paths]
        index, *parts = sources
        for source in sources:
            if source.torn:
                warn_torn(source)
        if index.torn or not index.in_order or any(len(part) for part in parts):
            names = _sorted_names(sources)
            with atomic_path(index.path) as temporary, open(temporary, "wb") as file:
                file.writelines(_last_line(sources, name) for name in names)
        for part in parts:
            part.path.unlink()


def _sorted_names(sources: Sequence[Lines]) -> Iterator[str]:
    """Every name once. As UTF-8, which has the same order, they take less memory."""
    names = [
        name.encode("utf-8", "surrogatepass")
        for place, source in enumerate(sources)
        for name in source
        if not any(name in later for later in sources[place + 1 :])
    ]
    names.sort()
    return (name.decode("utf-8", "surrogatepass") for name in names)


def _last_line(sources: Sequence[Lines], name: str) -> bytes:
    return next(source.line(name) for source in reversed(sources) if name in source)


def warn_torn(lines: Lines) -> None:
    """Tells of a line that is not whole."""
    logging.warning("%s: the last line is incomplete (the run was killed); that image is done again", lines.path)


def _is_held(path: Path) -> bool:
    try:
        with open(path, "r+b") as file:
            return not try_lock(file, required=False)
    except FileNotFoundError:
        return False

"""The SHA-256 manifest of a folder: which files belong to it, how long they are and what they hold.

Array files carry no checksum of their own that is checked on reading: one flipped byte comes back as wrong weights.
The manifest is written last and atomically, so it also marks a folder as complete.

It tells damage, not forgery: whoever can change a file can make the manifest anew. `manifest_digest` is one number over
all that it vouches for, to be passed on by another way than the files.
"""

import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from ddim_jax.runtime.atomic import flush_folder, write_text
from ddim_jax.runtime.errors import CheckpointError
from ddim_jax.runtime.file_browsers import is_from_file_browser
from ddim_jax.runtime.json_text import parse_json
from ddim_jax.runtime.values import is_whole

MANIFEST = "manifest.json"
_THREADS = 4  # hashing releases the GIL; more threads than this are held up by the disk
_NAMED = 5  # problems spelt out in a message
_LARGEST = 2**24  # bytes of a manifest, or of a file that is read whole


class _NoFile(OSError):
    """Something else than a file lies there; `strerror` says so."""


def _open(folder: Path, name: str) -> BinaryIO:
    """Opens a file below `folder` to be read.

    Links are not followed, and what would keep a reader waiting, a pipe or a device, is not read.

    Raises:
      OSError: it cannot be opened, or is no file.
    """
    path = folder / name
    if any(part.is_symlink() for part in (path, *path.parents[: len(PurePosixPath(name).parts) - 1])):
        raise _NoFile(errno.ELOOP, "a symbolic link", str(path))
    opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise _NoFile(errno.EINVAL, "not a file", str(path))
    return open(opened, "rb")


def _file_record(folder: Path, name: str, *, flushed: bool = False) -> dict:
    with _open(folder, name) as file:
        if flushed:
            os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": digest}


def _files(folder: Path) -> list[str]:
    """Every file below `folder` but the manifest, as sorted relative paths with forward slashes."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_dir() and path != folder / MANIFEST and not is_from_file_browser(path.name)
    )


def _serialise(records: dict[str, dict]) -> str:
    listing = json.dumps(records, sort_keys=True)
    own = hashlib.sha256(listing.encode()).hexdigest()
    return json.dumps({"files": records, "sha256": own}, indent=1, sort_keys=True) + "\n"


def write_manifest(folder: Path) -> None:
    """Records every file below `folder` in `folder/manifest.json`: path -> {bytes, sha256}, and a digest of that list.

    The manifest appears whole or not at all, and not before all it vouches for is flushed to the disk: a power cut does
    not make it a lie.

    Raises:
      OSError: a file cannot be read or the manifest cannot be written.
    """
    names = _files(folder)
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda name: _file_record(folder, name, flushed=True), names)
        records = dict(zip(names, found, strict=True))
    for below in (folder.parent, folder, *(path for path in folder.rglob("*") if path.is_dir())):
        flush_folder(below)
    write_text(folder / MANIFEST, _serialise(records))
    flush_folder(folder)


def is_complete(folder: Path) -> bool:
    """Returns True if `folder` was written to the end, that is, has a manifest; `find_damage` looks for damage."""
    return (folder / MANIFEST).is_file()


def _read_manifest(folder: Path) -> tuple[dict[str, dict], str | None]:
    """The records and None, or an empty dict and what is wrong with the manifest itself."""
    try:
        with _open(folder, MANIFEST) as file:
            text = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return {}, f"{MANIFEST}: missing (saving was interrupted, or the file was removed)"
    except OSError as error:
        return {}, f"{MANIFEST}: cannot be read ({error.strerror})"
    if len(text) > _LARGEST:
        return {}, f"{MANIFEST}: more than {_LARGEST:,} bytes; not a readable manifest"
    try:
        records = parse_json(text)["files"]
        # Comparing with what would have been written also catches damage that still parses.
        if _serialise(records).encode() != text:
            return {}, f"{MANIFEST}: changed after it was written"
        odd = next((name for name, record in records.items() if not _is_record(name, record)), None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}, f"{MANIFEST}: not a readable manifest"
    if odd is not None:
        return {}, f"{MANIFEST}: not a readable manifest: {odd!r} is no file below it with a length and a SHA-256"
    return records, None


def _is_record(name: str, record: Any) -> bool:
    """Returns True for the path of a file below the folder, with its length and digest."""
    parts = name.split("/")
    return (
        all(part not in ("", ".", "..") and part.isprintable() for part in parts)
        and isinstance(record, dict)
        and record.keys() == {"bytes", "sha256"}
        and is_whole(record["bytes"], 0)
        and isinstance(record["sha256"], str)
        and re.fullmatch("[0-9a-f]{64}", record["sha256"]) is not None
    )


def _compare(folder: Path, name: str, record: dict) -> str | None:
    try:
        with _open(folder, name) as file:
            size = os.fstat(file.fileno()).st_size
        if size != record["bytes"]:
            return f"{name}: {size} bytes, expected {record['bytes']}"
        found = _file_record(folder, name)
    except FileNotFoundError:
        return f"{name}: missing"
    except OSError as error:
        return f"{name}: cannot be read ({error.strerror})"
    if found != record:
        return f"{name}: content changed (SHA-256 differs from the manifest)"
    return None


def find_damage(folder: Path, leave_out: str | None = None) -> list[str]:
    """Compares every file below `folder`, but those in its folder `leave_out`, with its manifest.

    Returns:
      One line a problem, `<relative path>: <what is wrong>`, for files that are missing, shorter or longer, changed,
      unreadable or not in the manifest, for links, and for a missing or changed manifest; an empty list if all is as
      written.
    """
    records, problem = _read_manifest(folder)
    if problem:
        return [problem]
    links = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink())
    if links:  # what they lead to can change, or go away, without a trace here
        return [f"{name}: a symbolic link; the file itself has to lie there" for name in links]
    looked_at = [name for name in sorted(records) if name.partition("/")[0] != leave_out]
    with ThreadPoolExecutor(_THREADS) as pool:
        problems = [line for line in pool.map(lambda name: _compare(folder, name, records[name]), looked_at) if line]
    there = (name for name in _files(folder) if name.partition("/")[0] != leave_out)
    surplus = sorted(set(there) - set(records))
    return problems + [f"{name}: not in the manifest" for name in surplus]


def manifest_digest(folder: Path) -> str:
    """SHA-256 over the manifest of `folder`, and so over every file that it lists.

    Raises:
      OSError: it cannot be read.
    """
    with _open(folder, MANIFEST) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recorded_digest(folder: Path, part: str) -> str:
    """SHA-256 over what the manifest of `folder` records of the files in its folder `part`; none of them is read.

    Raises:
      CheckpointError: there is no readable manifest.
    """
    records, problem = _read_manifest(folder)
    if problem:
        raise CheckpointError(describe_damage(folder, [problem]))
    own = {name: record for name, record in records.items() if name.partition("/")[0] == part}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def fingerprint(folder: Path) -> tuple[tuple[str, int, int, int, int], ...] | None:
    """The file system's record of every file below `folder`, the manifest among them; no file is read.

    Whatever writes to a file, adds, replaces or removes one, changes it. None where a file cannot be looked at.
    """
    try:
        found = [(name, (folder / name).stat()) for name in (*_files(folder), MANIFEST)]
    except OSError:
        return None
    return tuple((name, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns) for name, now in found)


def describe_damage(folder: Path, damage: Sequence[str]) -> str:
    """The damage that `find_damage` found in `folder`, on one line; of many problems the first few."""
    more = f" and {len(damage) - _NAMED} more" if len(damage) > _NAMED else ""
    return f"{folder} is damaged: " + "; ".join(damage[:_NAMED]) + more


def read_verified(folder: Path, name: str) -> tuple[bytes | None, str | None]:
    """The bytes of one file after checking it against the manifest: a cheap look at a small file.

    Returns:
      (content, None); (None, None) if the manifest does not list `name`; (None, problem) if either is damaged.
    """
    records, problem = _read_manifest(folder)
    if problem:
        return None, problem
    if name not in records:
        return None, None
    if records[name]["bytes"] > _LARGEST:
        return None, f"{name}: {records[name]['bytes']:,} bytes, expected at most {_LARGEST:,}"
    problem = _compare(folder, name, records[name])
    return (None, problem) if problem else ((folder / name).read_bytes(), None)

"""The state of an image's files when they were read, by which a later run knows whether they changed."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ddim_jax.imageio.archives import on_disk

_FIELDS = ("bytes", "mtime_ns", "files_sha256")


class FileState(NamedTuple):
    """The state of all files of an image, as the fields of a line of the index.

    Attributes:
      bytes: of all files together; None, as `mtime_ns`, where nobody knows how the files are.
      mtime_ns: time of the last change of any, in nanoseconds.
      files_sha256: of several files, a digest of the name, bytes and time of each; None of one file.
    """

    bytes: int | None = None
    mtime_ns: int | None = None
    files_sha256: str | None = None

    @property
    def is_known(self) -> bool:
        return self.mtime_ns is not None

    def fields(self) -> dict[str, Any]:
        """The fields of a line of the index."""
        fields = self._asdict()
        return fields if self.files_sha256 else {name: fields[name] for name in _FIELDS[:2]}

    def is_recorded(self, record: Mapping[str, Any]) -> bool:
        """True if a line of the index says this state."""
        return recorded_state(record) == self


def recorded_state(record: Mapping[str, Any]) -> FileState:
    """The state that a line of the index says, unknown where there is none."""
    return FileState(*(record.get(name) for name in _FIELDS))


def state_of(files: Iterable[str]) -> FileState:
    """The state of files, or of the archive that they are in.

    Raises:
      OSError: one is not there, or no regular file, which might be waited for.
    """
    paths = list(dict.fromkeys(map(on_disk, files)))
    found = [os.stat(path) for path in paths]
    if not all(stat.S_ISREG(one.st_mode) for one in found):
        raise OSError(errno.EINVAL, "no regular file")
    digest = None
    if len(paths) > 1:
        # A slice may be replaced by one of the same length and an older time, which sum and maximum do not show.
        each = sorted(
            (os.path.basename(path), one.st_size, one.st_mtime_ns) for path, one in zip(paths, found, strict=True)
        )
        digest = hashlib.sha256(repr(each).encode(errors="surrogateescape")).hexdigest()
    return FileState(sum(one.st_size for one in found), max(one.st_mtime_ns for one in found), digest)

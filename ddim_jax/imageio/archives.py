"""Files in folders and in zip archives: `scans.zip/1/IM0001` is a file in an archive."""

import functools
import io
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import quantity

SUFFIX = ".zip"
_MEMBER_BYTES = 2**29  # of a file in an archive, which is held in memory while it is read
_ENTRY_BYTES = 1024  # of an entry of an archive's directory, on average: names and times have some 150
_MOST_FILES = 2**18


class TooManyFiles(DataError):
    """An archive lists more files than are read."""


class Archive:
    """The files in a zip archive, whose directory is read once; a context, and read from by several threads.

    Args:
      path: of the archive.
      most: files in it.

    Attributes:
      names: of the files, sorted; no hidden ones, none that leave it.

    Raises:
      TooManyFiles: there are more, or so many hidden ones that its directory has more than a KiB for each of `most`.
      DataError: it cannot be read, or holds two files of one name, of which one could not be asked for.
    """

    def __init__(self, path: str | os.PathLike, most: int = _MOST_FILES):
        self._path = Path(path)
        try:
            self._file = _Bounded(path, most * _ENTRY_BYTES)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
        try:
            # What the end of an archive says of their number need not be true, so the directory is bounded as it is
            # read: each entry becomes an object in memory.
            self._zip = zipfile.ZipFile(self._file)
        except BaseException as error:
            self._file.close()
            if isinstance(error, TooManyFiles) or not isinstance(error, Exception):
                raise
            raise DataError(f"{path}: is no archive, or a damaged one ({error}).") from error
        self._file.left = None
        entries = ((entry.filename, Path(entry.filename).parts) for entry in self._zip.infolist() if not entry.is_dir())
        self.names = sorted(
            name
            for name, parts in entries
            if not any(part.startswith(".") or part == "__MACOSX" for part in parts) and not name.startswith("/")
        )
        if len(self.names) > most:
            self.close()
            raise TooManyFiles(f"{path}: holds {len(self.names)} files; expected at most {most}.")
        if twice := len(self.names) - len(set(self.names)):
            self.close()
            raise DataError(
                f"{path}: {quantity(twice, 'file has', 'files have')} the name of another one in the archive; expected "
                "each name once. Unpack it and pack it again."
            )

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def close(self) -> None:
        """Closes its file."""
        self._zip.close()
        self._file.close()

    def open(self, name: str, called: str | os.PathLike | None = None) -> BinaryIO:
        """A file in it, in memory.

        Args:
          name: of the file.
          called: what errors call it, where its name may be a patient's; None: the archive's path and the name.

        Raises:
          DataError: there is none of that name, it is too large, encrypted or damaged.
        """
        path = called or self._path / name
        try:
            member = self._zip.getinfo(name)
            if member.file_size > _MEMBER_BYTES:
                raise DataError(f"{path}: has {member.file_size} bytes when unpacked; unpack the archive first.")
            return io.BytesIO(self._zip.read(member))
        except KeyError:
            raise DataError(f"{path}: there is no such file in the archive.") from None
        except RuntimeError as error:  # encrypted
            raise DataError(f"{path}: cannot be read from its archive, which is encrypted; unpack it first.") from error
        except (MemoryError, DataError):
            raise
        except Exception as error:  # of whatever stage of a damaged archive; its text may have the name
            raise DataError(f"{path}: cannot be read from its archive, which is damaged; copy it again.") from error


class _Bounded(io.FileIO):
    """A file of which `left` bytes can be read, and any number when that is None."""

    def __init__(self, path: str | os.PathLike, left: int):
        super().__init__(path)
        self._path, self.left = path, left + 2**17  # zipfile looks for the end of an archive in its last 64 KiB

    def read(self, size: int = -1) -> bytes:
        if self.left is not None:
            if size < 0:
                size = os.fstat(self.fileno()).st_size - self.tell()
            self.left -= size
            if self.left < 0:
                raise TooManyFiles(f"{self._path}: lists too many files, hidden ones among them.")
        return super().read(size)


def archive_of(path: str | os.PathLike) -> Path | None:
    """The archive that a path goes into, or None."""
    text = os.fspath(path)
    if SUFFIX not in text.lower():
        return None
    return next((part for part in Path(text).parents if part.suffix.lower() == SUFFIX and part.is_file()), None)


def on_disk(path: str | os.PathLike) -> str:
    """The file of the file system that holds what `path` names: itself, or its archive."""
    return os.fspath(archive_of(path) or path)


def open_binary(path: str | os.PathLike) -> BinaryIO:
    """Opens a file, or a file in an archive, to be read from any place.

    Raises:
      DataError: it cannot be read from its archive.
      OSError: the file, or the archive, cannot be opened.
    """
    archive = archive_of(path)
    if archive is None:
        return open(path, "rb")
    state = os.stat(archive)
    opened = _opened(os.fspath(archive), (state.st_size, state.st_mtime_ns), os.getpid())
    return opened.open(Path(path).relative_to(archive).as_posix())


@functools.lru_cache(1)  # the files of one archive are read one after the other
def _opened(path: str, state: tuple[int, int], process: int) -> Archive:
    return Archive(path)


def size_of(path: str | os.PathLike) -> int:
    """The bytes of a file, or of a file in an archive when it is unpacked; errors as `open_binary`."""
    if archive_of(path) is None:
        return os.path.getsize(path)
    with open_binary(path) as file:
        return file.seek(0, os.SEEK_END)


def members(archive: str | os.PathLike) -> list[str]:
    """The names of the files in an archive, as `Archive` has them; errors as there."""
    with Archive(archive) as opened:
        return opened.names

"""Files in folders and in zip archives: `scans.zip/1/IM0001` is a file in an archive."""

import io
import os
import zipfile
from pathlib import Path
from typing import BinaryIO

from ddim_jax.runtime.errors import DataError

SUFFIX = ".zip"
_MEMBER_BYTES = 2**29  # of a file in an archive, which is held in memory while it is read


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
    with open(archive, "rb") as file:
        try:
            with zipfile.ZipFile(file) as opened:
                member = opened.getinfo(Path(path).relative_to(archive).as_posix())
                if member.file_size > _MEMBER_BYTES:
                    raise DataError(f"{path}: has {member.file_size} bytes when unpacked; unpack the archive first.")
                return io.BytesIO(opened.read(member))
        except KeyError:
            raise DataError(f"{path}: there is no such file in the archive.") from None
        except RuntimeError as error:  # encrypted
            raise DataError(f"{path}: cannot be read from its archive, which is encrypted; unpack it first.") from error
        except MemoryError:
            raise
        except DataError:
            raise
        except Exception as error:  # of whatever stage of a damaged archive
            raise DataError(f"{path}: cannot be read from its archive, which is damaged ({error}).") from error


def size_of(path: str | os.PathLike) -> int:
    """The bytes of a file, or of a file in an archive when it is unpacked; errors as `open_binary`."""
    if archive_of(path) is None:
        return os.path.getsize(path)
    with open_binary(path) as file:
        return file.seek(0, os.SEEK_END)


def members(archive: str | os.PathLike) -> list[str]:
    """The names of the files in an archive, sorted; no hidden ones, none that leave it.

    Raises:
      DataError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            names = [entry.filename for entry in opened.infolist() if not entry.is_dir()]
    except OSError as error:
        raise DataError(f"{archive}: cannot be read ({error.strerror or error}).") from error
    except Exception as error:
        raise DataError(f"{archive}: is no archive, or a damaged one ({error}).") from error
    parts = ((name, Path(name).parts) for name in names)
    return sorted(
        name
        for name, folders in parts
        if not any(part.startswith(".") or part == "__MACOSX" for part in folders) and not name.startswith("/")
    )

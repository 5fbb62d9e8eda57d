"""Paths that a user gives: `~` is the home folder, as in a shell, and paths of remote storage are refused.

Files are locked, renamed and verified as only a file system can.
"""

import os
import re
from pathlib import Path
from typing import overload

from ddim_jax.runtime.errors import InputError

# One letter before the colon is a drive.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(//?)")
# Where pathlib has made gs:/ of gs://, only these are taken for schemes: exp1:/ may be a folder.
_KNOWN = {"abfs", "abfss", "az", "file", "ftp", "gcs", "gs", "hdfs", "http", "https", "memory", "s3", "sftp", "ssh"}


def refuse_remote(path: str | os.PathLike | None, name: str) -> None:
    """Checks that a path is one of the file system.

    Args:
      path: as the user gave it; None and "" pass, which some fields take for none.
      name: the option, field or argument it was given as.

    Raises:
      InputError: it begins with a scheme, such as gs:// or s3://.
    """
    text = "" if path is None else os.fspath(path)
    scheme = _SCHEME.match(text)
    if scheme and (scheme[2] == "//" or scheme[1].lower() in _KNOWN) and not os.path.lexists(text):
        raise InputError(
            f"{name} is {text}; {scheme[1]}:// paths are not read or written, expected a path of the file "
            "system. Copy the files to one. A mount of the storage (gcsfuse, s3fs, rclone) will do to read from, and "
            "for the results of one process alone: it has no locks between machines"
        )


@overload
def local_path(path: None, name: str) -> None: ...
@overload
def local_path(path: str | os.PathLike, name: str) -> Path: ...
def local_path(path: str | os.PathLike | None, name: str) -> Path | None:
    """The path with the home folder in place of a leading `~` or `~user`; None for None.

    A config that names `~/data` holds on a machine with another home folder, and no shell reads `--workdir=~/run`.

    Raises:
      InputError: as `refuse_remote`, or the path is empty, as of a variable that is not set.
    """
    refuse_remote(path, name)
    if path is not None and not os.fspath(path):
        raise InputError(f"{name} is empty; expected a path (. is the current folder)")
    return None if path is None else Path(os.path.expanduser(path))  # pathlib's own fails where there is no such user

"""Results on the disk: a file, or for a source of several slices a folder of files that are named by numbers.

What a file browser drops in such a folder counts for nothing and goes with it.
"""

import os
import stat
from pathlib import Path

from ddim_jax.runtime.file_browsers import is_from_file_browser


def result_size(path: Path) -> int:
    """Bytes of a result, a file or the folder of a source's slices; 0 where there is none."""
    try:
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            with os.scandir(path) as entries:
                return sum(entry.stat().st_size for entry in entries if not is_from_file_browser(entry.name))
        return found.st_size if stat.S_ISREG(found.st_mode) else 0
    except OSError:
        return 0


def holds_only_slices(folder: Path, suffix: str) -> bool:
    """Returns True if a folder has no files but results of slices."""
    return all(_is_slice(name, suffix) or is_from_file_browser(name) for name in os.listdir(folder))


def remove_result(path: Path, suffix: str) -> None:
    """Removes a result, a file or the results of slices in a folder; other files in it stay, and so does it then."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    others = []
    for name in os.listdir(path):
        if _is_slice(name, suffix):
            (path / name).unlink(missing_ok=True)
        else:
            others.append(name)
    if all(map(is_from_file_browser, others)):
        for name in others:
            (path / name).unlink(missing_ok=True)
        path.rmdir()


def _is_slice(name: str, suffix: str) -> bool:
    return name.endswith(suffix) and name.removesuffix(suffix).isdigit()

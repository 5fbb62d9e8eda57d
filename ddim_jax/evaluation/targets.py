"""The files of an evaluation, which belong together: all of them replace those of an earlier one, or none does."""

import contextlib
import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.locks import locked

_PREFIX = ".evaluation-"
_LOCK = ".evaluation.lock"
_ABANDONED = 24 * 3600.0  # seconds


def check_targets(folder: Path, names: Sequence[str]) -> None:
    """Checks that the files to come may and can replace what stands in their place.

    Args:
      folder: of the results.
      names: relative paths; the last is the JSON file that vouches for the others.

    Raises:
      InputError: files of these names are no evaluation's, a folder stands there, or the place is on another disk, so
        that no file can be renamed to it.
    """
    for name in names:
        path = folder / name
        if path.is_dir():
            raise InputError(f"{path} is a folder; expected a file of an evaluation there, or nothing")
        if path.parent.exists() and path.parent.stat().st_dev != folder.stat().st_dev:
            raise InputError(f"{path.parent} is on another disk than {folder}; expected a folder on the same")
    there = [str(folder / name) for name in names if os.path.lexists(folder / name)]
    if there and not _is_of_evaluation(folder, folder / names[-1]):
        raise InputError(
            f"{', '.join(there[:3])}{f' and {len(there) - 3} more' if len(there) > 3 else ''} would be replaced, and "
            f"{names[-1]} does not say that an evaluation wrote them. Use another output folder, or move them away"
        )


def read_evaluation(path: Path) -> dict[str, Any] | None:
    """The content of the metrics.json of an evaluation; None where there is none, or one of somebody else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("package") == "ddim_jax" else None


def _is_of_evaluation(folder: Path, voucher: Path) -> bool:
    if not os.path.lexists(voucher):
        return (folder / _LOCK).exists()  # one was killed while it replaced them
    return read_evaluation(voucher) is not None


@contextlib.contextmanager
def staged(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yields an empty folder for the files `names`; when the block ends well, they replace those in `folder`.

    What was not written there is removed from `folder`. Other files stay. Evaluations that end at the same moment take
    turns. The last of `names` goes first and comes last: it vouches for the others, even where a kill comes in between.

    Args:
      folder: of the results; made where it does not exist.
      names: relative paths.

    Raises:
      OSError: a file cannot be written or replaced; `folder` is as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
    try:
        yield stage
        with locked(folder / _LOCK, required=False):
            _replace(stage, folder, names)
            for other in folder.glob(f"{_PREFIX}*"):  # of killed evaluations
                if other.is_dir() and other.stat().st_mtime < time.time() - _ABANDONED:
                    shutil.rmtree(other, ignore_errors=True)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _replace(stage: Path, folder: Path, names: Sequence[str]) -> None:
    moves: list[tuple[Path, Path]] = []

    def move(source: Path, target: Path) -> None:
        if os.path.lexists(source):
            if source.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(source))
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(source, target)
            moves.append((source, target))

    try:
        for name in reversed(names):
            move(folder / name, stage / "before" / name)
        for name in names:
            move(stage / name, folder / name)
    except BaseException:
        for source, target in reversed(moves):
            os.rename(target, source)
        raise

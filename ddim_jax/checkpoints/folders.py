"""Step folders: finding those that a user points at, and taking one out of the way, by one process."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

from absl import logging

from ddim_jax.checkpoints.manifest import MANIFEST, describe_damage, is_complete
from ddim_jax.runtime.errors import CheckpointError, InputError
from ddim_jax.runtime.remote import local_path


def locate(path: str | os.PathLike) -> tuple[Path, int | None]:
    """Finds the checkpoints that a user points at: a run directory, its `checkpoints` folder or one step folder.

    Returns:
      (the folder that holds the step folders, the step if `path` is one step's folder, else None).

    Raises:
      CheckpointError: there is no such path, or it is none of the three.
      InputError: the path is of remote storage.
    """
    given = local_path(path, "the checkpoint").absolute()
    if not given.is_dir():
        raise CheckpointError(f"{path}: no such folder; give a run directory, its checkpoints folder or a step folder")
    if (given / "checkpoints").is_dir():
        return given / "checkpoints", None
    if is_step_name(given.name) and any((given / name).exists() for name in (MANIFEST, "ema_params")):
        return given.parent, int(given.name)
    if any(is_step_name(child.name) and child.is_dir() for child in given.iterdir()):
        return given, None
    raise CheckpointError(
        f"{path}: holds no checkpoints; expected a run directory, its checkpoints folder or one of the step folders"
    )


def check_path(directory: Path) -> None:
    """Refuses a folder in which a checkpoint would be written that cannot be read again.

    Orbax takes its path for a pattern of names when it puts the parts of an array together, and TensorStore takes a
    backslash for a slash.

    Raises:
      InputError: names the characters.
    """
    odd = [character for character in "*?[\\" if character in str(directory)]
    if odd:
        raise InputError(
            f"{directory}: checkpoints cannot be kept in a path with {' or '.join(odd)}, which would be taken for a "
            "pattern of names; choose another --workdir (a link with a plain name to that folder works too)"
        )


def step_folders(directory: Path) -> list[int]:
    """The steps in increasing order that have a folder in `directory`, complete or not.

    Raises:
      CheckpointError: `directory` cannot be looked at, for instance because it is a link to a disk that is away; or the
        newest step is such a link. What is not there for now must not be taken for a run that was never begun.
    """
    try:
        found = {int(path.name): path for path in directory.iterdir() if is_step_name(path.name)}
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not os.path.lexists(directory):
            return []
        raise CheckpointError(is_away(directory, error.strerror)) from error
    there = sorted(step for step, path in found.items() if path.is_dir())
    away = sorted(step for step in found.keys() - set(there) if found[step].is_symlink())
    if away and (not there or away[-1] > there[-1]):
        raise CheckpointError(is_away(found[away[-1]], "it leads nowhere"))
    return there


def is_away(path: Path, why: str | None) -> str:
    """Says that `path` cannot be opened, why, and where it leads if it is a link."""
    what = f"a link to {os.readlink(path)}" if path.is_symlink() else "where the checkpoints of a run lie"
    return (
        f"{path}: {what}, cannot be opened ({why}). Is a disk away? Bring it back and start again; without it, use "
        "another --workdir"
    )


def is_step_name(name: str) -> bool:
    """Returns True if the name is that of a step folder: its number in decimal digits."""
    return name.isascii() and name.isdecimal() and str(int(name)) == name


def which_step(value: Any) -> Literal["best", "latest"] | int:
    """The checkpoint of a run that a user means: "best", "latest", or a number of training steps, also as a text.

    Raises:
      InputError: it is none of them.
    """
    if isinstance(value, str):
        if value in ("best", "latest"):
            return value
        if value.isascii() and value.isdecimal() and len(value) < 20:
            return int(value)
    elif isinstance(value, Integral) and not isinstance(value, bool) and value >= 0:
        return int(value)
    raise InputError(f"step is {value!r}; expected best, latest or a number of training steps")


def check_sha256(required: str | None) -> None:
    """Checks a SHA-256 that a user requires, in hexadecimal digits; None requires nothing.

    Raises:
      InputError: it is no SHA-256.
    """
    if required is not None and not re.fullmatch("[0-9a-fA-F]{64}", required):
        raise InputError(f"the SHA-256 is {required!r}; expected 64 hexadecimal digits, as doctor shows them")


def remove(folder: Path) -> None:
    """Removes a step folder; without its manifest, one whose removal is interrupted is incomplete and not damaged.

    Of a link to it, as to an archive, the link alone is removed.
    """
    if folder.is_symlink():
        folder.unlink()
        return
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder)


@contextlib.contextmanager
def may_stay(folder: Path) -> Iterator[None]:
    """A step folder that the block cannot take away is named in a warning.

    Over NFS, that is so while another machine reads it: what is removed there stays as `.nfs...` until it is closed.
    """
    try:
        yield
    except OSError as error:
        logging.warning("%s: cannot be taken away (%s); the next save tries again", folder, error.strerror or error)


def take_away(folder: Path, damage: Sequence[str], *, only_remains: bool) -> None:
    """Takes a step folder that cannot be used out of the way, and says so.

    Args:
      folder: of the step.
      damage: what is wrong with it.
      only_remains: whether no intact step is there. What has no manifest is removed where there is one, for it is what
        an interrupted save or removal left. Everything else is renamed to `<step>.damaged`: somebody may look at it.
    """
    if not is_complete(folder) and not only_remains:
        logging.warning("%s: removed, %s is missing: saving or removing it was interrupted", folder, MANIFEST)
        remove(folder)
        return
    names = (f"{folder.name}.damaged{suffix}" for suffix in ("", *(f"-{number}" for number in range(2, 1000))))
    aside = next(path for path in map(folder.with_name, names) if not path.exists())
    logging.warning("%s; moved to %s", describe_damage(folder, damage), aside)
    folder.rename(aside)

"""Finding the checkpoints that a user points at."""

import os
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

from ddim_jax.checkpoints.manifest import MANIFEST
from ddim_jax.runtime.errors import CheckpointError, InputError
from ddim_jax.runtime.remote import refuse_remote


def locate(path: str | os.PathLike) -> tuple[Path, int | None]:
    """Finds the checkpoints that a user points at: a run directory, its `checkpoints` folder or one step folder.

    Returns:
      (the folder that holds the step folders, the step if `path` is one step's folder, else None).

    Raises:
      CheckpointError: there is no such path, or it is none of the three.
      InputError: the path is of remote storage.
    """
    refuse_remote(path, "the checkpoint")
    given = Path(os.path.expanduser(path)).absolute()  # pathlib's own fails where there is no such user
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


def is_step_name(name: str) -> bool:
    """Whether a folder of this name is that of a step: its number in decimal digits."""
    return name.isascii() and name.isdecimal() and str(int(name)) == name


def which_step(value: Any) -> Literal["best", "latest"] | int:
    """Which checkpoint of a run a user means: "best", "latest", or a number of training steps, also as a text.

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

"""From what a user points at to weights and their configuration: a run, a file of packed weights, a packaged name."""

import os
import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ddim_jax import pretrained
from ddim_jax.checkpoints.folders import check_sha256, locate, which_step
from ddim_jax.checkpoints.packed import is_packed, read_packed
from ddim_jax.checkpoints.store import CheckpointStore
from ddim_jax.runtime.errors import CheckpointError
from ddim_jax.runtime.remote import local_path

TRAINED_IN = "trained_in"
"""In what a run says of its training images, the folder it was started in; of its machine, so never packed."""


class Found(NamedTuple):
    """Weights that were read and verified.

    Attributes:
      step: training steps taken.
      params: nested dict of NumPy arrays, the EMA weights.
      metadata: config, data (about the training images), package_version.
      digest: SHA-256 of the weights.
      place: the step folder, or the file of packed weights.
      about: the file that the metadata are in, for messages.
      dtype: in which the weights are stored, float32 or float16.
    """

    step: int
    params: Any
    metadata: dict[str, Any]
    digest: str
    place: Path
    about: Path
    dtype: str = "float32"


def open_weights(
    path: str | os.PathLike, step: Literal["best", "latest"] | int = "best", require_sha256: str | None = None
) -> Found:
    """Reads and verifies the weights that a user points at.

    Args:
      path: a run directory, its `checkpoints` folder, one step's folder, a file of `ddim-jax pack`, or, as a text, a
        name of `ddim_jax.pretrained`.
      step: of a run, "best", "latest" or a number of training steps. Of the rest there is one.
      require_sha256: of the step's manifest, or of the file.

    Raises:
      CheckpointError: nothing is there, it is damaged or no such thing, or the name is that of a local path as well.
      InputError: `step` is none of these, or `require_sha256` no SHA-256.
    """
    step = which_step(step)
    file, known = packed_file(path)
    if file is not None:
        check_sha256(require_sha256)
        if known is not None and require_sha256 is None:
            require_sha256 = known
        packed = read_packed(file, require_sha256)
        if step not in ("best", "latest", packed.step):
            raise CheckpointError(f"{path} has the weights of step {packed.step}, not of step {step}; give its run")
        _check_plugins(file, packed.metadata["config"])
        return Found(packed.step, packed.params, packed.metadata, packed.digest, file, file, packed.dtype)
    directory, own_step = locate(path)
    if own_step is not None and step not in ("best", "latest", own_step):
        raise CheckpointError(f"{path} is the checkpoint of step {own_step}, not of step {step}; give the run instead")
    found = CheckpointStore(directory).restore_params(step if own_step is None else own_step, require_sha256)
    place = directory / str(found.step)
    return Found(*found, place, place / "metadata" / "metadata")


def _check_plugins(file: Path, config: Any) -> None:
    """Refuses a file that would have modules imported: it may be from anybody, and they can do anything."""
    plugins = config.get("plugins") if isinstance(config, dict) else None
    wanted = [name for name in plugins if name not in sys.modules] if isinstance(plugins, list) else []
    if wanted:
        names = ",".join(map(str, wanted))
        raise CheckpointError(
            f"{file}: needs the modules {names}, which a file does not import by itself; if you trust them, give "
            f"--plugins {names} (or import them first)"
        )


def packed_file(path: str | os.PathLike) -> tuple[Path | None, str | None]:
    """The file of packed weights that `path` means, and its SHA-256 if it is packaged; (None, None) for a folder.

    Raises:
      CheckpointError: it is neither a path nor a name of `ddim_jax.pretrained`, or it is both.
      InputError: the path is of remote storage.
    """
    given = local_path(path, "the checkpoint").absolute()
    there = os.path.lexists(given)
    if isinstance(path, str) and path in pretrained.SHA256:
        if there:
            what = "folder" if given.is_dir() else "file"
            raise CheckpointError(
                f"{path} is a {what} here, and a name of packaged weights as well; give ./{path} for the {what}, or "
                "call from another folder for the packaged weights"
            )
        return pretrained.file_of(path), pretrained.SHA256[path]
    if given.is_dir():
        return None, None
    if given.is_file():
        return given, None
    names = ", ".join(pretrained.SHA256) or "none"
    raise CheckpointError(
        f"{path}: no such folder or file; give a run directory, its checkpoints folder, a step folder, a file made by "
        f"ddim-jax pack, or a name of packaged weights: {names}"
    )


def is_weights(path: str | os.PathLike) -> bool:
    """Returns True for a folder, a file of packed weights and a packaged name, which `open_weights` reads."""
    given = local_path(path, "the checkpoint")
    return given.is_dir() or (isinstance(path, str) and path in pretrained.SHA256) or is_packed(given)

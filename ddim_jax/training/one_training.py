"""The folder of a run: fit for what is written there, held by one training at a time, and the same until its end."""

import contextlib
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from ddim_jax.checkpoints.folders import check_path, is_away, step_folders
from ddim_jax.checkpoints.manifest import MANIFEST
from ddim_jax.data.pixels import PIXELS
from ddim_jax.runtime.atomic import json_text, make_folder, write_json
from ddim_jax.runtime.errors import CheckpointError, InputError, InUseError
from ddim_jax.runtime.locks import try_lock
from ddim_jax.runtime.processes import check_shared, wait_for_all

FOLDS = "folds.csv"
LOCK = ".training.lock"
_FILES = ("config.json", "metrics.jsonl", PIXELS, FOLDS)
_DIGITS = 20
"""Digits of the step in the lock's file: it is always written whole."""


def check_files(workdir: Path) -> None:
    """Checks, without writing, that what a run writes may and can replace what is there already.

    Raises:
      InputError: the path cannot hold checkpoints; files of a run's names are there, and no training wrote them; a file
        of the run is a link to a disk that is away, or something else than a file, such as a pipe.
    """
    checkpoints = workdir / "checkpoints"
    check_path(checkpoints.absolute())
    if not (workdir / LOCK).exists() and not any(checkpoints.glob(f"*/{MANIFEST}")):
        for name in (*_FILES, "checkpoints"):
            is_empty = (workdir / name).is_dir() and not os.listdir(workdir / name)
            if os.path.lexists(workdir / name) and not is_empty:
                raise InputError(
                    f"{workdir / name} would be replaced or joined, and no training of this package wrote it ({LOCK} "
                    "is not there, nor a whole checkpoint). Use another --workdir, or move it away"
                )
    for name in (*_FILES, LOCK, "tensorboard"):
        path = workdir / name
        is_kind, kind = (stat.S_ISDIR, "a folder") if name == "tensorboard" else (stat.S_ISREG, "a file")
        if not os.path.lexists(path):
            continue
        if not path.exists():
            raise InputError(
                f"{path}: a link to {os.readlink(path)}, which is not there. Is a disk away? Bring it back"
            )
        if not is_kind(path.stat().st_mode):
            raise InputError(f"{path}: expected {kind}; remove what is there, or use another --workdir")


class OneTraining:
    """Keeps other trainings out of a run's folder, from `hold` to the end of the block; process 0 does so for all.

    It is the lock of a file in that folder, which stays, with the step that was saved last in it. Who reads the run
    does not ask for it. On a file system without locks nobody is kept out.
    """

    def __init__(self, workdir: Path):
        self._workdir = workdir
        self._file = None

    def __enter__(self) -> "OneTraining":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._file is not None:
            self._file.close()

    def hold_if_known(self) -> None:
        """Takes the folder as `hold` does if it has the file already: one that may turn out unfit is not written to."""
        if (self._workdir / LOCK).exists():
            self.hold()

    def hold(self) -> None:
        """Takes the folder, which has to be there; again, it does nothing.

        Raises:
          InUseError: another training is at work there.
        """
        if jax.process_index() != 0 or self._file is not None:
            return
        descriptor = os.open(self._workdir / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        self._file = open(descriptor, "rb+", buffering=0)  # noqa: SIM115, closed in __exit__
        if not try_lock(self._file, required=False):
            raise InUseError(
                f"{self._workdir}: another training is at work there ({LOCK} is in use). Stop it or wait until it "
                "ends, then start the same command again; or use another --workdir. The lock of a machine that "
                "crashed may live on for a minute or two."
            )

    @property
    def last_saved(self) -> int:
        """The step of the checkpoint that was saved last in the folder that is held, 0 if none was."""
        if self._file is None:
            return 0
        self._file.seek(0)
        with contextlib.suppress(ValueError):
            return int(self._file.read(_DIGITS))
        return 0

    def saved(self, step: int) -> None:
        """Notes that a checkpoint of `step` is complete."""
        if self._file is not None:
            self._file.seek(0)
            self._file.write(f"{step:{_DIGITS - 1}}\n".encode())

    def check_place(self) -> None:
        """Checks that the folder is still the one that was taken: a save would make another in its place.

        Raises:
          InputError: it was moved, replaced, or its disk taken away.
          CheckpointError: so was that of its checkpoints.
        """
        if self._file is None:
            return
        try:
            is_same = os.path.samestat(os.fstat(self._file.fileno()), (self._workdir / LOCK).stat())
        except OSError:
            is_same = False
        if not is_same:
            raise InputError(
                f"{self._workdir}: the folder was moved, replaced or taken away while the run was at work, so nothing "
                "more is saved there. Start the same command again with the --workdir where it lies; it goes on from "
                "the last checkpoint"
            )
        checkpoints = self._workdir / "checkpoints"
        if not step_folders(checkpoints) and self.last_saved:
            raise CheckpointError(is_away(checkpoints, f"step {self.last_saved}, which was saved, is not there"))


def begin_folder(
    workdir: Path, config: Mapping[str, Any], one_training: OneTraining, is_unchanged: Callable[[], bool]
) -> None:
    """Makes the folder of the run; not before the data were read: those that cannot be used leave no run behind.

    Raises:
      InUseError: another training is at work there, or was since this one looked.
      InputError: the processes do not see the same folder, or have different configurations.
    """
    if jax.process_index() == 0:
        make_folder(workdir)
        one_training.hold()
        if not is_unchanged():
            raise InUseError(f"{workdir}: another training was at work there; start the same command again to go on")
        write_json(workdir / "config.json", config)
    wait_for_all("config.json")
    check_shared(workdir / "config.json", json_text(config))

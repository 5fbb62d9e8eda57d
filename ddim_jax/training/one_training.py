"""One training at a time in the folder of a run: a second one would remove what the first is writing."""

from pathlib import Path
from typing import Any

import jax

from ddim_jax.runtime.errors import InUseError
from ddim_jax.runtime.locks import try_lock

LOCK = ".training.lock"


class OneTraining:
    """Keeps other trainings out of a run's folder, from `hold` to the end of the block; process 0 does so for all.

    It is the lock of an empty file in that folder, which stays. Who reads the run does not ask for it. On a file system
    without locks nobody is kept out.
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
        """As `hold`, where the folder has the file already: nothing is written to one that may turn out unfit."""
        if (self._workdir / LOCK).exists():
            self.hold()

    def hold(self) -> None:
        """Takes the folder, which has to be there; again, it does nothing.

        Raises:
          InUseError: another training is at work there.
        """
        if jax.process_index() != 0 or self._file is not None:
            return
        self._file = open(self._workdir / LOCK, "ab")  # noqa: SIM115, closed in __exit__
        if not try_lock(self._file, required=False):
            raise InUseError(
                f"{self._workdir}: another training is at work there ({LOCK} is in use). Stop it or wait until it "
                "ends, then start the same command again; or use another --workdir. The lock of a machine that "
                "crashed may live on for a minute or two."
            )

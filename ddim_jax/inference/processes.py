"""Images divided among processes that share the output folder and nothing else."""

import hashlib
import os
from collections.abc import Mapping
from numbers import Integral
from typing import NamedTuple

from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.launchers import find_launcher


class Process(NamedTuple):
    """One of several processes that divide the images of a folder.

    They are on one machine or many that share the folders, and need not speak with each other: an image belongs to the
    process given by the SHA-256 of its name (`owns`). All of them are to be given the same images, `save`, `segments`
    and `flag_uncertain`. Each appends to its own part of the index, and the one that ends last merges
    the parts, and with `flag_uncertain` writes `flagged.csv`. What a killed process left undone, the next run does,
    with any number of processes. The same process twice at once, or runs of different numbers of processes, are
    refused, as far as the file system passes locks on.

    Attributes:
      index: 0 .. count - 1.
      count: how many there are, >= 1.
    """

    index: int = 0
    count: int = 1

    @classmethod
    def create(cls, index: int = 0, count: int = 1) -> "Process":
        """Checks the numbers.

        Raises:
          InputError: they are no whole numbers with 0 <= index < count.
        """
        for name, value in (("process id", index), ("process count", count)):
            if isinstance(value, bool) or not isinstance(value, Integral):
                raise InputError(f"{name} is {value!r}; expected a whole number")
        if count < 1:
            raise InputError(f"process count is {count}; expected at least 1")
        if not 0 <= index < count:
            raise InputError(f"process id is {index} with process count {count}; expected 0 to {count - 1}")
        return cls(int(index), int(count))

    @classmethod
    def find(
        cls, index: int | None = None, count: int | None = None, environment: Mapping[str, str] = os.environ
    ) -> "Process":
        """Takes what is given, and the rest from what started this process: mpirun, srun or an indexed Kubernetes Job.

        Without any of them this is the one process there is.

        Args:
          index, count: as given by the user, None where nothing was.
          environment: variables by name.

        Raises:
          InputError: one of the two is not known, or the numbers cannot be.
        """
        launched = find_launcher(environment) if index is None or count is None else None
        reason = f"--process-id is {index}"
        if launched is not None:
            if index is None:
                index, reason = launched.index, f"{launched.index_name} is {launched.index}"
            count = launched.count if count is None else count
        if index is None and count is None:
            return cls()
        if index is None:
            raise InputError(f"--process-count is {count}, but which of them is this? Give --process-id too")
        if count is None:
            raise InputError(
                f"{reason}, but of how many? Give --process-count too (for a process that is to do every image, "
                "--process-id 0 --process-count 1)"
            )
        return cls.create(index, count)

    def owns(self, name: str) -> bool:
        """Returns True if the image of that name is this process's: the SHA-256 of its UTF-8 bytes, modulo `count`."""
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest, "big") % self.count == self.index

    def __str__(self) -> str:
        return f"process {self.index} of {self.count}"

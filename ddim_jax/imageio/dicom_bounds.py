"""Headers of DICOM files that are read within bounds, however much a damaged or hostile file says that it has."""

import os
from typing import BinaryIO

from ddim_jax.imageio.images import AGAIN
from ddim_jax.runtime.errors import DataError

_HEADER_BYTES = 2**24  # the headers of enhanced files of some thousand frames have a few MiB
_HEADER_STEPS = 2**19  # two or three an attribute; those headers have some hundred thousand


class Bounded:
    """A file of which a header's length is read at most, in so many steps, and nothing that is deflated.

    A header of millions of attributes would take minutes, and fill the memory.
    """

    def __init__(self, file: BinaryIO, path: str | os.PathLike):
        self._file, self._path, self._left, self._steps = file, path, _HEADER_BYTES, _HEADER_STEPS
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if size < 0:  # the library reads to the end only to inflate what it has read, however large that becomes
            raise DataError(f"{self._path}: is deflated (Deflated Explicit VR); save it without compression.")
        self._steps -= 1
        data = self._file.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise DataError(
                f"{self._path}: its header has more than {_HEADER_BYTES} bytes, expected a few MiB; {AGAIN}."
            )
        if self._steps < 0:
            raise DataError(
                f"{self._path}: its header has more than {_HEADER_STEPS // 2} attributes, expected fewer; {AGAIN}."
            )
        return data

    def close(self) -> None:
        self._file.close()

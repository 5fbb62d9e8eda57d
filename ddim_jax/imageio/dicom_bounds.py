"""Headers of DICOM files that are read within bounds, however much a damaged or hostile file says that it has."""

import io
import os
import zlib
from typing import BinaryIO

from ddim_jax.imageio.images import AGAIN
from ddim_jax.runtime.errors import DataError

_HEADER_BYTES = 2**24  # the headers of enhanced files of some thousand frames have a few MiB
_HEADER_STEPS = 2**19  # two or three an attribute; those headers have some hundred thousand
DEFLATED = b"1.2.840.10008.1.2.1.99"
_PLAIN = b"1.2.840.10008.1.2.1".ljust(len(DEFLATED), b"\0")


class Deflated(Exception):
    """A file stands where its deflated part begins."""


class Bounded:
    """A file of which a header's length is read at most, in so many steps, and nothing that is deflated.

    A header of millions of attributes would take minutes, and fill the memory.
    """

    def __init__(self, file: BinaryIO, path: str | os.PathLike):
        self._file, self._path, self._left, self._steps = file, path, _HEADER_BYTES, _HEADER_STEPS
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if size < 0:  # the library reads to the end only to inflate what it has read, however large that becomes
            raise Deflated
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


def inflated_in_memory(file: BinaryIO, path: str | os.PathLike) -> BinaryIO:
    """A deflated file, which stands behind the group that says so, as one that is not.

    Raises:
      DataError: it would fill the memory.
    """
    head, inflate, parts, left = file.tell(), zlib.decompressobj(-zlib.MAX_WBITS), [], _HEADER_BYTES
    while left > 0 and not inflate.eof and (data := inflate.unconsumed_tail or file.read(2**16)):
        parts.append(inflate.decompress(data, left))
        left -= len(parts[-1])
    if left <= 0:
        raise DataError(
            f"{path}: has more than {_HEADER_BYTES} bytes when it is inflated; save it without compression."
        )
    if not inflate.eof:
        raise DataError(f"{path}: is truncated, its deflated part has no end; {AGAIN}.")
    file.seek(0)
    return io.BytesIO(file.read(head).replace(DEFLATED, _PLAIN) + b"".join(parts))

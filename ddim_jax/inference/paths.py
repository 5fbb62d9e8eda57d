"""Millions of paths in little memory."""

import os
from collections.abc import Iterator

_LENGTH = 2  # bytes of the number of bytes shared with the path before
_MOST = 2 ** (8 * _LENGTH) - 1


class PathList:
    """Paths in the order they were added, each stored as what differs from the one before (front coding).

    Sorted paths, as a folder is listed, take about ten bytes each: the number of bytes shared, the rest and a zero.
    """

    def __init__(self):
        self._bytes = bytearray()
        self._last = b""
        self._count = 0

    def append(self, path: str) -> None:
        """Adds a path as the operating system gave it."""
        new = os.fsencode(path)
        most = min(len(self._last), len(new), _MOST)
        shared = next((place for place in range(most) if self._last[place] != new[place]), most)
        self._bytes += shared.to_bytes(_LENGTH, "little") + new[shared:] + b"\0"
        self._last = new
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        begin, path = 0, b""
        while begin < len(self._bytes):
            rest = begin + _LENGTH
            end = self._bytes.index(0, rest)  # no path holds a zero
            shared = int.from_bytes(self._bytes[begin:rest], "little")
            path = path[:shared] + bytes(self._bytes[rest:end])
            yield os.fsdecode(path)
            begin = end + 1

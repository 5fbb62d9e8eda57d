"""Texts told apart by 16 bytes each, where there may be millions of them."""

import hashlib

import numpy as np

DIGEST = np.dtype("S16")
"""128 bits of BLAKE2b: that two of ten million texts share them has a probability of 1e-25."""


def digest(text: str) -> bytes:
    """The 16 bytes that stand for a text, which may hold lone surrogates, as names of files do that are no UTF-8."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST.itemsize).digest()


def repeated(digests: bytearray) -> np.ndarray:
    """The digests that occur more than once.

    Args:
      digests: one behind the other; sorted in place.

    Returns:
      `DIGEST` [n], sorted, each once.
    """
    found = np.frombuffer(digests, DIGEST)
    found.sort()
    return np.unique(found[1:][found[1:] == found[:-1]])


def find(table: np.ndarray, text: str) -> int | None:
    """The place of a text's digest in a sorted table, `DIGEST` [n]; None if it is not there."""
    key = np.frombuffer(digest(text), DIGEST)[0]
    place = int(np.searchsorted(table, key))
    return place if place < len(table) and table[place] == key else None

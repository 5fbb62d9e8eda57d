"""Optional libraries kept from being imported by others, which would take long and not use them."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any


class _Hidden:
    """A finder of modules by which the import of one fails in the thread that makes it, and in no other."""

    def __init__(self, name: str):
        self._name, self._thread = name, threading.get_ident()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == self._name and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@contextlib.contextmanager
def hidden(name: str) -> Iterator[None]:
    """Makes the import of a module fail in the block, in this thread alone, if nobody has imported it so far.

    None in `sys.modules` would make it fail in all threads. A look for the module without importing it fails as well:
    `importlib.util.find_spec` raises ModuleNotFoundError, and does not give None as of a module that is not installed.
    """
    finder = _Hidden(name)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)

"""A switch for programs that leave this machine: one plain form of each operation, the same for every platform."""

import contextlib
import contextvars
from collections.abc import Iterator

_PORTABLE = contextvars.ContextVar("portable", default=False)


@contextlib.contextmanager
def portable_operations() -> Iterator[None]:
    """Traces the block without compiled kernels, without branches by platform and without complex numbers."""
    token = _PORTABLE.set(True)
    try:
        yield
    finally:
        _PORTABLE.reset(token)


def is_portable() -> bool:
    """Returns True within `portable_operations`."""
    return _PORTABLE.get()

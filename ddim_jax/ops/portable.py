"""A switch for programs that leave this machine: one plain form of each operation, the same for every platform."""

import contextlib
from collections.abc import Iterator

import jax

_PORTABLE = jax.make_user_context(False)
"""Part of the key of JAX's caches: what was traced outside of the block is traced again inside, and the other way."""


@contextlib.contextmanager
def portable_operations() -> Iterator[None]:
    """Traces the block without compiled kernels, without branches by platform and without complex numbers.

    A function that was traced before is traced again. These forms can be differentiated in both modes, any number of
    times.
    """
    with _PORTABLE(True):
        yield


def is_portable() -> bool:
    """Returns True within `portable_operations`."""
    return _PORTABLE.value

"""Processors and open files that the system grants this process; too few files would end it half way."""

import os

from ddim_jax.runtime.errors import InputError

_OPEN_FILES = 256
"""Reading and writing checkpoints on all cores takes about a hundred."""


def allow_open_files() -> None:
    """Raises this process's limit on open files where it is low, as far as the system lets it.

    Raises:
      InputError: that is not enough.
    """
    try:
        import resource
    except ImportError:  # not POSIX: no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _OPEN_FILES:
        return
    if hard != resource.RLIM_INFINITY and hard < _OPEN_FILES:
        raise InputError(
            f"this process may open {soft} files at once, expected at least {_OPEN_FILES}: raise the limit "
            f"(ulimit -n {_OPEN_FILES}; the hard limit is {hard})"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, hard))


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

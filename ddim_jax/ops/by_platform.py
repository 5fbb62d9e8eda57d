"""The choice of a form of an operation by the platform of the program."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import lax


def by_platform(*arguments: Any, cpu: Callable[..., jax.Array], default: Callable[..., jax.Array]) -> jax.Array:
    """The value of `cpu` in a program for a CPU, of `default` in any other; both take the arguments.

    The choice is made when the program is lowered. Where this process has no other device it is made now: tracing and
    differentiating the form that is never used took more than half of the time of tracing a training step. So a process
    with a CPU alone makes programs for CPUs; `portable_operations` makes those for other platforms.
    """
    if has_cpu_alone():
        return cpu(*arguments)
    return lax.platform_dependent(*arguments, cpu=cpu, default=default)


@functools.cache
def has_cpu_alone() -> bool:
    """Returns True if JAX has no device in this process but its CPU."""
    if jax.default_backend() != "cpu":
        return False
    for platform in {"gpu", "tpu", *(jax.config.jax_platforms or "cpu").split(",")} - {"cpu"}:
        with contextlib.suppress(RuntimeError):  # there is none
            if jax.devices(platform):
                return False
    return True

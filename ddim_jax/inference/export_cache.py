"""Traced programs kept on disk, so that the next process does not trace the network again.

JAX's own cache of compiled programs (`ddim_jax.runtime.compile_cache`) is looked up by the lowered program, which takes
seconds of tracing for a large network. Here that lowered program is kept, as `jax.export` serialises it.
"""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax
import jax
import jaxlib
import numpy as np
from absl import logging
from jax import export

import ddim_jax
from ddim_jax.ops import cpu_kernels
from ddim_jax.runtime.atomic import atomic_path
from ddim_jax.runtime.cache_folder import check_private

_MOST_BYTES = 256 * 1024**2
"""The programs used longest ago are removed beyond this."""
_DIGEST_BYTES = 32
_SUFFIX = ".bin"
_SETTINGS = (
    *("jax_enable_x64", "jax_numpy_dtype_promotion", "jax_default_matmul_precision"),
    *("jax_default_prng_impl", "jax_threefry_partitionable", "jax_debug_nans"),
)
"""The settings of JAX that change what is traced."""


class TracedPrograms:
    """The programs of one network in a folder, shared by processes.

    A program is found again only by the same network, settings and shapes, with the same code of this package, versions
    of JAX and Flax, `_SETTINGS` of JAX and kind of device. One that was damaged is made again; what cannot be kept is
    compiled as usual. Whoever can write to the folder can run code in this process.

    Args:
      folder: of all networks; made when there is something to keep.
      depends: JSON-serialisable, all of the configuration that the network and what is done with it depend on.
      params: its weights; their names, shapes and dtypes count.

    Raises:
      InputError: others may write to the folder.
    """

    def __init__(self, folder: str | os.PathLike, depends: Mapping[str, Any], params: Any):
        leaves = [
            f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}"
            for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        ]
        check_private(folder)
        self._folder = Path(folder) / _digest([depends, leaves, _surroundings()])

    @property
    def known(self) -> bool:
        """True if a program is there that was traced for these very weights: they fit the network."""
        return any(self._folder.glob(f"*{_SUFFIX}"))

    def kept(self, function: Callable) -> Callable:
        """`function` compiled; as with `jax.jit`, for each set of shapes and of keyword arguments, which are static.

        The first positional argument is the weights.
        """
        programs: dict[tuple, Callable] = {}

        def call(*args: Any, **static: Any) -> Any:
            shapes = [f"{np.shape(leaf)} {leaf.dtype}" for leaf in jax.tree.leaves(args[1:])]
            settings = [getattr(jax.config, name) for name in _SETTINGS]  # as they hold now, in a `with` block too
            key = (*shapes, *sorted(static.items()), *settings)
            if key not in programs:
                name = _digest([repr(part) for part in key])
                programs[key] = jax.jit(self._traced(name, functools.partial(function, **static), args))
            return programs[key](*args)

        call.clear_cache = programs.clear  # as what `jax.jit` returns has it
        return call

    def _traced(self, name: str, function: Callable, args: Sequence[Any]) -> Callable:
        """The program of that name, traced if it is not there; `function` itself where it cannot be kept."""
        path = self._folder / f"{name}{_SUFFIX}"
        program = _read(path, export.deserialize)
        if program is None:
            # The interface of the compiled kernels is part of their name, and that of `_surroundings`.
            trusted = [export.DisabledSafetyCheck.custom_call(target) for target in cpu_kernels.TARGETS]
            try:
                program = export.export(jax.jit(function), disabled_checks=trusted)(*args)
                content = program.serialize()
            except Exception as error:  # whatever jax.export cannot do, jax.jit can, or says why it cannot
                logging.warning("a traced program is not kept: %s: %s", type(error).__name__, error)
                return function
            _keep(path, content)
        return program.call


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def _code() -> str:
    package = Path(ddim_jax.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


_CODE = _code()  # now: the files may be others by the time that something is traced


def _surroundings() -> list[str]:
    """The part of a program's name that is the same for all networks of a process: code, versions, kernels, device."""
    # Asking for the kernels also tells XLA about them, which a program that is read back needs.
    kernels = str(cpu_kernels.loaded_digest())
    device = jax.devices()[0]
    return [_CODE, kernels, jax.__version__, jaxlib.__version__, flax.__version__, device.platform, device.device_kind]


def _read(path: Path, load: Callable[[bytearray], Any]) -> Any:
    """Loads the content of a file that starts with its SHA-256; None where it has to be made again."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")  # a FIFO would be waited for
        content = path.read_bytes()
        if hashlib.sha256(content[_DIGEST_BYTES:]).digest() != content[:_DIGEST_BYTES]:
            raise ValueError("it was damaged")
        program = load(bytearray(content[_DIGEST_BYTES:]))
    except FileNotFoundError:
        return None
    except Exception as error:  # what wrote it may be anything
        logging.warning("%s: a kept program cannot be used and is made again: %s", path, error)
        return None
    with contextlib.suppress(OSError):  # of another user, who lets it be read: the age only decides how long it is kept
        os.utime(path)  # used now
    return program


def _keep(path: Path, program: bytes | bytearray) -> None:
    """Writes the program, and removes those used longest ago where all networks' take more than `_MOST_BYTES`."""
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(hashlib.sha256(program).digest() + program)
    except OSError as error:
        logging.warning("a program is not kept for the next call: %s: %s", error.filename, error.strerror)
    found = []
    for other in path.parent.parent.glob(f"*/*{_SUFFIX}"):
        with contextlib.suppress(OSError):  # removed by another process, or not to be looked at
            about = other.stat()
            found.append((about.st_mtime, about.st_size, other))
    total = sum(size for _, size, _ in found)
    for _, size, other in sorted(found):
        if total <= _MOST_BYTES:
            return
        with contextlib.suppress(OSError):  # of another user: theirs to remove
            other.unlink()
            total -= size
            other.parent.rmdir()  # if it was the last of its network

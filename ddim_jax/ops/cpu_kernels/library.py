"""The compiled CPU kernels: where they lie, how they are built, and their registration with XLA."""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import jax
import jaxlib
from absl import logging

from ddim_jax.runtime.cache_folder import cache_folder, make_private, processor_digest
from ddim_jax.runtime.errors import InputError

SOURCES = (
    "common.h",
    "parallel_for.h",
    "planes.h",
    "conv_tiles.h",
    "winograd_transforms.h",
    "winograd.h",
    "grouped_conv.cc",
    "grouped_conv_grad.cc",
    "winograd.cc",
    "winograd_grad.cc",
    "in_place_conv.cc",
    "group_norm.cc",
    "join.cc",
    "adam.cc",
    "threefry.cc",
)
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC", "-pthread")
TARGETS = (
    "ddim_jax_grouped_conv",
    "ddim_jax_grouped_conv_transposed",
    "ddim_jax_grouped_conv_grad_kernel",
    "ddim_jax_winograd_conv",
    "ddim_jax_winograd_conv_grad_kernel",
    "ddim_jax_in_place_conv",
    "ddim_jax_group_norm",
    "ddim_jax_group_norm_grad",
    "ddim_jax_norm",
    "ddim_jax_join",
    "ddim_jax_adam",
    "ddim_jax_threefry",
)
BUILD = "ddim-jax doctor --build-kernels"
COMPILER_SECONDS = 600
UNUSED_DAYS = 90
"""Libraries for other machines that share the home folder, or for other versions, are removed after so long."""

_HERE = Path(__file__).parent


def folder() -> Path:
    """The folder of the user's cache that holds the kernels. Whoever can write to it can run code in this process."""
    return cache_folder("kernels")


def name() -> str:
    """The start of a library's name: a digest of the sources, the flags, jaxlib, the system and the processor.

    Code for another processor, or for another version of XLA's interface, is never loaded. The release of the operating
    system's kernel is no part of it: an update of that changes nothing in the code.
    """
    digest = hashlib.sha256()
    for source in SOURCES:
        digest.update((_HERE / source).read_bytes())
    system = (platform.system(), platform.machine(), *platform.libc_ver())
    for text in (*FLAGS, jaxlib.__version__, *system, processor_digest()):
        digest.update(text.encode())
    return f"kernels-{digest.hexdigest()[:16]}"


def library_path() -> Path | None:
    """The library that was built for this machine; None where it was not, or where its content has changed since.

    The end of its name is the SHA-256 of its content.

    Raises:
      InputError: others may write to the folder (`ddim_jax.runtime.cache_folder.check_private`).
    """
    found = _verified()
    return None if found is None else found[0]


def _verified() -> tuple[Path, bytes] | None:
    """The library and its content."""
    try:
        for path in sorted(filter(Path.is_file, folder().glob(f"{name()}-*.so"))):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                return _verified()  # another process has just put a new one in its place
            if hashlib.sha256(content).hexdigest() == _digest_in_name(path):
                return path, content
            logging.warning("%s is damaged and is not used; %s builds it again", path, BUILD)
    except OSError as error:
        logging.warning("the compiled CPU kernels are not used: %s", error)
    return None


def _digest_in_name(path: Path) -> str:
    return path.stem.rpartition("-")[2]


def compiler() -> list[str] | None:
    """The command of the C++ compiler that `build` uses; None where there is none.

    It is $CXX, which may have arguments ("ccache g++"), or the first of c++, g++ and clang++.
    """
    given = os.environ.get("CXX")
    if not given:
        return next(([found] for found in map(shutil.which, ("c++", "g++", "clang++")) if found), None)
    if found := shutil.which(given):  # a path with blanks in it
        return [found]
    try:
        words = shlex.split(given)
    except ValueError:  # a quotation that does not end
        return None
    found = shutil.which(words[0]) if words else None
    return [found, *words[1:]] if found else None


def build() -> Path:
    """Compiles the kernels for this processor, in half a minute.

    Returns:
      The library's path, in the user's cache folder. Programs started from now on use it.

    Raises:
      InputError: no compiler was found, it failed, or it took too long; the package works without the kernels.
      OSError: the cache folder cannot be written to.
    """
    found = compiler()
    if found is None:
        raise InputError(
            f"no C++ compiler ({os.environ.get('CXX') or 'c++, g++, clang++'}): install one (for example the package "
            "g++) or name it in CXX; without the kernels everything works, slower on CPU"
        )
    make_private(folder())
    units = [str(_HERE / source) for source in SOURCES if source.endswith(".cc")]
    with tempfile.TemporaryDirectory(dir=folder()) as temporary:
        made = Path(temporary, "kernels.so")
        command = [*found, *FLAGS, f"-I{jax.ffi.include_dir()}", "-o", str(made), *units]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=COMPILER_SECONDS)
        except subprocess.TimeoutExpired:
            raise InputError(f"{shlex.join(command)} did not end within {COMPILER_SECONDS} s and was stopped") from None
        if result.returncode:
            raise InputError(f"{shlex.join(command)} failed:", *result.stderr[-2000:].splitlines())
        path = made.replace(folder() / f"{name()}-{hashlib.sha256(made.read_bytes()).hexdigest()}.so")
    _remove_others(path)
    return path


def _remove_others(path: Path) -> None:
    """Removes the libraries that `path` replaces, and those that nobody has loaded for long."""
    own = f"{name()}-"
    for other in folder().glob("kernels-*.so"):
        with contextlib.suppress(FileNotFoundError):  # removed by another build at the same moment
            unused = other.stat().st_mtime < time.time() - UNUSED_DAYS * 86400
            if other != path and (unused or other.name.startswith(own)):
                other.unlink()


def _load(path: Path, content: bytes) -> ctypes.CDLL:
    """Loads the very content that was verified: a file that is cut short while its code is in use ends the process."""
    try:
        descriptor = os.memfd_create(path.name)
    except (AttributeError, OSError):  # not Linux, or not allowed
        return ctypes.CDLL(str(path))
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        try:
            return ctypes.CDLL(f"/proc/self/fd/{descriptor}")
        except OSError:  # a system that runs nothing from memory
            return ctypes.CDLL(str(path))


def _warn_of_others() -> None:
    with contextlib.suppress(OSError):
        own = f"{name()}-"
        if any(not path.name.startswith(own) for path in folder().glob("kernels-*.so")):
            logging.warning(
                "the compiled CPU kernels in %s are for another version or machine and are not used; %s builds them "
                "for this one",
                folder(),
                BUILD,
            )


def available() -> bool:
    """Returns True if the kernels are built for this machine; the first call loads them and tells XLA about them.

    Where they cannot be used, a warning says why, once.

    Raises:
      InputError: as `library_path`.
    """
    return loaded_digest() is not None


@functools.cache
def loaded_digest() -> str | None:
    """The SHA-256 of the library that this process uses, whatever the cache folder holds by now; None without one."""
    found = _verified()
    if found is None:
        _warn_of_others()
        return None
    path, content = found
    try:
        library = _load(path, content)
        handlers = {target: jax.ffi.pycapsule(getattr(library, target)) for target in TARGETS}
    except (OSError, AttributeError) as error:
        logging.warning("%s cannot be loaded and is not used (%s); %s builds it again", path, error, BUILD)
        return None
    for target, handler in handlers.items():
        jax.ffi.register_ffi_target(target, handler, platform="cpu")
    with contextlib.suppress(OSError):  # a folder that is only read
        os.utime(path)  # in use, for `_remove_others`
    return _digest_in_name(path)

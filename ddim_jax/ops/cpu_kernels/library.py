"""The compiled CPU kernels: where they lie, how they are built, and their registration with XLA."""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import jax
import jaxlib
from absl import logging

from ddim_jax.runtime.cache_folder import cache_folder, make_private, processor_digest
from ddim_jax.runtime.errors import InputError

SOURCES = (
    "common.h",
    "winograd_transforms.h",
    "grouped_conv.cc",
    "winograd.cc",
    "in_place_conv.cc",
    "group_norm.cc",
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
    "ddim_jax_adam",
    "ddim_jax_threefry",
)
BUILD = "ddim-jax doctor --build-kernels"

_HERE = Path(__file__).parent


def folder() -> Path:
    """The folder of the user's cache that holds the kernels. Whoever can write to it can run code in this process."""
    return cache_folder("kernels")


def name() -> str:
    """The start of a library's name: a digest of the sources, the flags, jaxlib, the system and the processor.

    Code for another processor, or for another version of XLA's interface, is never loaded.
    """
    digest = hashlib.sha256()
    for source in SOURCES:
        digest.update((_HERE / source).read_bytes())
    for text in (*FLAGS, jaxlib.__version__, platform.platform(), processor_digest()):
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
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == path.stem.rpartition("-")[2]:
                return path, content
            logging.warning("%s is damaged and is not used; %s builds it again", path, BUILD)
    except OSError as error:
        logging.warning("the compiled CPU kernels are not used: %s", error)
    return None


def compiler() -> str | None:
    """The C++ compiler that `build` uses: $CXX, or the first of c++, g++ and clang++; None where there is none."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    return next(filter(None, map(shutil.which, names)), None)


def build() -> Path:
    """Compiles the kernels for this processor, in half a minute.

    Returns:
      The library's path, in the user's cache folder. Programs started from now on use it.

    Raises:
      InputError: no compiler was found, or it failed; the package works without the kernels.
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
        command = [found, *FLAGS, f"-I{jax.ffi.include_dir()}", "-o", str(made), *units]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise InputError(f"{' '.join(command)} failed:", *result.stderr[-2000:].splitlines())
        path = folder() / f"{name()}-{hashlib.sha256(made.read_bytes()).hexdigest()}.so"
        for before in folder().glob(f"{name()}-*.so"):
            before.unlink()
        return made.replace(path)


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


@functools.cache
def available() -> bool:
    """Returns True if the kernels are built for this machine; the first call loads them and tells XLA about them."""
    found = _verified()
    if found is None:
        return False
    library = _load(*found)
    for target in TARGETS:
        jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(getattr(library, target)), platform="cpu")
    return True

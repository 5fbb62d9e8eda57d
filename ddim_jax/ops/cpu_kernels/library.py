"""The compiled CPU kernels: where they lie, how they are built, and their registration with XLA."""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

import jax
import jaxlib

from ddim_jax.runtime.atomic import atomic_path
from ddim_jax.runtime.errors import InputError

FOLDER = Path(__file__).parent
SOURCES = ("common.h", "grouped_conv.cc", "group_norm.cc")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC", "-pthread")
TARGETS = (
    "ddim_jax_grouped_conv",
    "ddim_jax_grouped_conv_transposed",
    "ddim_jax_grouped_conv_grad_kernel",
    "ddim_jax_group_norm",
    "ddim_jax_group_norm_grad",
)


def library_path() -> Path:
    """Where the kernels for these sources, this jaxlib and this processor lie once they are built.

    The name is a digest of all three: code for another processor, or for another version of XLA's interface, is never
    loaded.
    """
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((FOLDER / name).read_bytes())
    for text in (*FLAGS, jaxlib.__version__, platform.platform(), _processor()):
        digest.update(text.encode())
    return FOLDER / "built" / f"kernels-{digest.hexdigest()[:16]}.so"


def _processor() -> str:
    """What the instructions of this processor depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), platform.machine())


def build() -> Path:
    """Compiles the kernels for this processor with $CXX, or the first of c++, g++ and clang++; half a minute.

    Returns:
      The library's path. Programs started from now on use it.

    Raises:
      InputError: no compiler was found, or it failed; the package works without the kernels.
    """
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    compiler = next(filter(None, map(shutil.which, names)), None)
    if compiler is None:
        raise InputError(
            f"no C++ compiler ({', '.join(names)}): install one (for example the package g++) or name it in CXX; "
            "without the kernels everything works, slower on CPU"
        )
    path = library_path()
    path.parent.mkdir(exist_ok=True)
    units = [str(FOLDER / name) for name in SOURCES if name.endswith(".cc")]
    with atomic_path(path) as temporary:
        command = [compiler, *FLAGS, f"-I{jax.ffi.include_dir()}", "-o", str(temporary), *units]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise InputError(f"{' '.join(command)} failed:\n{result.stderr[-2000:]}")
    return path


@functools.cache
def available() -> bool:
    """Whether the kernels are built for this machine; the first call loads them and tells XLA about them."""
    path = library_path()
    if not path.is_file():
        return False
    library = ctypes.CDLL(str(path))
    for name in TARGETS:
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(library, name)), platform="cpu")
    return True

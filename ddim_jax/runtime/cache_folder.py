"""The user's cache folder, and the processor that compiled code in it is for."""

import hashlib
import os
import platform
from pathlib import Path


def cache_folder(name: str = "") -> Path:
    """The folder ddim_jax/`name` in $XDG_CACHE_HOME, else in ~/.cache; it may not be there.

    Raises:
      RuntimeError: there is no home directory.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ddim_jax" / name


def make_private(folder: Path) -> None:
    """Makes `folder` of `cache_folder`, and ddim_jax above it, for this user alone: code is run from there.

    Raises:
      OSError: it cannot be made.
    """
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    for part in (folder.parent, folder):
        part.mkdir(exist_ok=True, mode=0o700)


def processor_digest() -> str:
    """Twelve hex digits of what a program compiled for this processor may use."""
    about = {platform.machine(), platform.processor()}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        about |= {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    except OSError:
        pass  # not Linux: the names above have to do
    return hashlib.sha256("\n".join(sorted(about)).encode()).hexdigest()[:12]

"""The user's cache folder, which is private, and the processor that compiled code in it is for."""

import hashlib
import os
import platform
import shlex
import stat
import tempfile
from pathlib import Path

from ddim_jax.runtime.errors import InputError


def cache_folder(name: str = "") -> Path:
    """The folder ddim_jax/`name` in $XDG_CACHE_HOME, else in ~/.cache; it may not be there.

    A user without a home, such as a number given to a container, has one in the folder for temporary files.

    Raises:
      InputError: it is of another user, or others may write to it (`check_private`).
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        above = Path(base) if base else Path.home() / ".cache"
    except RuntimeError:
        above = Path(tempfile.gettempdir(), f"cache-{os.geteuid() if hasattr(os, 'geteuid') else 'user'}")
        check_private(above)
    root = above / "ddim_jax"
    check_private(root)
    check_private(root / name)
    return root / name


def make_private(folder: Path) -> None:
    """Makes `folder` of `cache_folder`, and ddim_jax above it, for this user alone: code is run from there.

    Raises:
      OSError: it cannot be made.
    """
    folder.parent.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for part in (folder.parent, folder):
        part.mkdir(exist_ok=True, mode=0o700)


def check_private(folder: str | os.PathLike) -> None:
    """Checks that nobody but this user, and root, can put something into a folder; one that is not there passes.

    What a cache holds is run or believed, so whoever can write there decides on the results.

    Raises:
      InputError: somebody else can; the message says how to mend it.
    """
    try:
        about = os.stat(folder)
    except OSError:
        return  # whoever uses it says why it cannot be
    if not hasattr(os, "geteuid"):
        return
    other = "name another folder in XDG_CACHE_HOME (JAX_COMPILATION_CACHE_DIR, where that is set)"
    if about.st_uid not in (os.geteuid(), 0):
        raise InputError(
            f"{folder} is a cache and belongs to another user (user id {about.st_uid}, this is {os.geteuid()}), who "
            f"could replace what is run from it: chown it, or {other}"
        )
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InputError(
            f"{folder} is a cache that other users may write to (mode {stat.S_IMODE(about.st_mode):o}), who could "
            f"replace what is run from it: chmod go-w {shlex.quote(os.fspath(folder))}, or {other}"
        )


def processor_digest() -> str:
    """Twelve hex digits of what a program compiled for this processor may use."""
    about = {platform.machine(), platform.processor()}
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        about |= {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    except OSError:
        pass  # not Linux: the names above have to do
    return hashlib.sha256("\n".join(sorted(about)).encode()).hexdigest()[:12]

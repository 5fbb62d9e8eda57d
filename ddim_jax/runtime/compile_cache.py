"""Compiled programs kept on disk between calls of the commands, each under the SHA-256 of its content.

JAX's own persistent cache reads whatever its folder holds, and a changed byte there is a crash or a wrong mask. So each
process gives JAX a folder of its own, with links to the programs whose content is as it was, and what JAX adds there is
put beside the others under the digest of its content.
"""

import atexit
import contextlib
import hashlib
import os
import shutil
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
from absl import logging

from ddim_jax.runtime.atomic import atomic_path
from ddim_jax.runtime.cache_folder import cache_folder, check_private, make_private, processor_digest
from ddim_jax.runtime.compile_clock import COMPILED
from ddim_jax.runtime.process_folder import ProcessFolder

_LEAST_SECONDS = 0.1
"""Programs that compile faster are not kept: reading them back is hardly faster."""
_MOST_BYTES = 2**30
"""The programs compiled longest ago are removed beyond this; all are hashed whenever a command starts."""


def keep_compiled_programs() -> Path | None:
    """Makes this process look for compiled programs on disk and leave its own there; for commands, called once.

    The folder is one for each kind of processor in the user's cache folder: on a home directory that several machines
    share, a program compiled for another processor would be read back and could stop with an illegal instruction. Where
    JAX_COMPILATION_CACHE_DIR is set, it is ddim_jax below that. JAX_ENABLE_COMPILATION_CACHE=0 turns the cache off.

    Returns:
      The folder; None where there is none, because it was turned off or cannot be made (which is logged), and where
      JAX_COMPILATION_CACHE_DIR is remote storage, which JAX alone reads and writes.

    Raises:
      InputError: others may write to the folder (`check_private`): whoever can runs code in this process.
    """
    if not jax.config.jax_enable_compilation_cache:
        return None
    own = jax.config.jax_compilation_cache_dir
    if own and "://" in own:
        return None
    try:
        if own:
            folder = Path(own, "ddim_jax", processor_digest())
            check_private(own)
        else:
            folder = cache_folder(f"programs-{processor_digest()}")
            jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
        make_private(folder)
        check_private(folder.parent)
        check_private(folder)
        programs = CompiledPrograms(folder)
        programs.lend()
    except OSError as error:
        logging.warning("compiled programs are not kept between calls: %s", error)
        return None
    jax.config.update("jax_compilation_cache_dir", str(programs.lent))
    jax.config.update("jax_compilation_cache_max_size", -1)  # JAX keeps no account, for what is lent is not its own
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")  # further files without digests
    jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: event == COMPILED and programs.keep())
    atexit.register(programs.close)
    return folder


class CompiledPrograms:
    """The compiled programs in a folder, shared by processes.

    A file is named `<JAX's name>.<SHA-256 of its content>`.

    Attributes:
      lent: the folder for JAX; it belongs to this process and is removed when it ends, or by a later one.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        _remove_halves(folder)
        self._own = ProcessFolder("lent-", folder)
        self.lent = self._own.path
        self._known: set[str] = set()
        self._keeping = threading.Lock()

    def lend(self) -> None:
        """Puts the programs that are whole into `lent`, and removes the others and those beyond `_MOST_BYTES`."""
        found = []
        for path in self._folder.glob("*-cache.*"):
            with contextlib.suppress(OSError):  # removed by another process
                about = path.stat()
                if stat.S_ISREG(about.st_mode):  # a FIFO would be waited for
                    found.append((about.st_mtime, about.st_size, path))
        total = sum(size for _, size, _ in found)
        found.sort()
        while found and total > _MOST_BYTES:
            _, size, path = found.pop(0)
            total -= size
            path.unlink(missing_ok=True)
        with ThreadPoolExecutor() as threads:  # hashing leaves the interpreter to the others
            for (*_, path), content in zip(found, threads.map(_digest, (path for *_, path in found)), strict=True):
                name, _, digest = path.name.rpartition(".")
                if content == digest:
                    with contextlib.suppress(FileNotFoundError):  # removed by another process meanwhile
                        _link(path, self.lent / name)
                        self._known.add(name)
                elif content is not None:
                    logging.warning("%s: a compiled program was damaged and is made again", path)
                    path.unlink(missing_ok=True)

    def keep(self) -> None:
        """Puts what JAX has added to `lent` beside the programs of others; the commands compile in one thread only."""
        with self._keeping, contextlib.suppress(OSError):  # a full disk keeps none, and stops nothing
            for path in self.lent.glob("*-cache"):
                if path.name not in self._known:
                    self._known.add(path.name)
                    content = path.read_bytes()
                    with atomic_path(self._folder / f"{path.name}.{hashlib.sha256(content).hexdigest()}") as temporary:
                        temporary.write_bytes(content)

    def close(self) -> None:
        """Removes `lent`."""
        self.keep()
        self._own.close()


def _digest(path: Path) -> str | None:
    """The SHA-256 of a file; None where another process has removed it."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _link(path: Path, place: Path) -> None:
    try:
        os.link(path, place)
    except OSError:  # a file system without links
        shutil.copyfile(path, place)


def _remove_halves(folder: Path) -> None:
    """Removes what processes that were killed had been writing."""
    for half in folder.glob(".*.partial*"):
        with contextlib.suppress(OSError):
            if half.stat().st_mtime < time.time() - 3600:
                half.unlink()

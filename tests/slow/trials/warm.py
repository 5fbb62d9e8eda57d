"""Programs started many times at the cost of one start: a warm process that has imported everything forks one for each.

What runs is what a user starts, from its command line to the end of the interpreter; only the imports are shared. JAX
is imported here and used in the forked processes alone.
"""

import contextlib
import ctypes
import gc
import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.children import die_with_parent
from tests.slow.trials.programs import ROOT

LIMIT = 300.0
"""Seconds after which a program that hangs is ended."""
_PRELOAD = (
    *("ddim_jax.cli.train", "ddim_jax.training.loop", "ddim_jax.runtime.distributed", "ddim_jax.evaluation"),
    *("ddim_jax.inference.files", "ml_collections.config_flags", "tensorboardX"),
)


class Ended(NamedTuple):
    """The end of a program: its exit status (minus the signal, if one ended it), and what it said on both streams."""

    status: int
    out: str
    err: str


class Programs:
    """Starts programs; made by `warm_programs`."""

    def __init__(self, server: subprocess.Popen):
        self._server = server

    def run(self, program: str, arguments: Sequence[str], folder: Path, *, powerless: bool = False) -> Ended:
        """Runs a program in `folder` and waits for its end.

        Args:
          program: a script (below the project's root, or absolute), or "-m NAME" for a module.
          arguments: of its command line.
          folder: the working directory; what the program says is kept beside it.
          powerless: without the capabilities of root, so that permissions hold for it as for anybody.
        """
        said = [folder.with_name(f"{folder.name}.{stream}") for stream in ("out", "err")]
        asked = {"program": program, "arguments": [*map(str, arguments)], "folder": str(folder), "powerless": powerless}
        self._server.stdin.write(json.dumps({**asked, "said": [*map(str, said)]}) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        if not answer:
            raise RuntimeError("the warm process has ended; its own output says why")
        return Ended(json.loads(answer), *(path.read_text(errors="replace") for path in said))


@contextlib.contextmanager
def warm_programs(cache: Path) -> Iterator[Programs]:
    """Programs on the CPU, with their compiled programs kept in `cache`."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.slow.trials.warm"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    try:
        yield Programs(server)
    finally:
        server.stdin.close()
        server.wait()


def _serve() -> None:
    """Answers each line of stdin, a program to run, with its exit status."""
    die_with_parent()
    for module in _PRELOAD:
        __import__(module)
    gc.freeze()  # or each forked process would copy all that is imported when it ends
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            die_with_parent()
            _become(asked)
            return  # through the end of the interpreter, as a program
        print(json.dumps(_status(child)), flush=True)


def _become(asked: dict[str, Any]) -> None:
    """Makes this process the program, and runs it; raises what it raises."""
    files = [os.open(os.devnull, os.O_RDONLY)]
    files += [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666) for path in asked["said"]]
    for number, file in enumerate(files):
        os.dup2(file, number)
    if asked["powerless"]:
        _give_up_capabilities()
    os.chdir(asked["folder"])
    module = asked["program"].removeprefix("-m ")
    if module != asked["program"]:
        sys.argv = [module, *asked["arguments"]]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        script = str(ROOT / asked["program"])
        sys.argv = [script, *asked["arguments"]]
        runpy.run_path(script, run_name="__main__")


def _give_up_capabilities() -> None:
    """Drops capabilities, by capset(2): version 3, this thread, and none effective, permitted or inheritable."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "the capabilities cannot be given up")


def _status(child: int) -> int:
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, 9)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    _serve()

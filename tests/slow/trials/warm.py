"""Programs started many times at the cost of one start: a warm process that has imported everything forks one for each.

What runs is what a user starts, from its command line to the end of the interpreter; only the imports are shared. JAX
is imported here and used in the forked processes alone.
"""

import contextlib
import ctypes
import gc
import json
import logging
import math
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.children import die_with_parent
from benchmarks.machine import ROOT

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


class Running:
    """A program at work, with the methods of `subprocess.Popen` that tests need.

    Attributes:
      err: the file with what it says on standard error.
    """

    def __init__(self, command: list[str], pid: int, err: Path, ended: Path):
        self.args, self.pid, self.returncode, self._ended = command, pid, None, ended
        self.err = err

    def poll(self) -> int | None:
        """The exit status, minus the signal where one ended it; None while it runs."""
        if self.returncode is None:
            with contextlib.suppress(FileNotFoundError):
                self.returncode = int(self._ended.read_text())
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once it has ended.

        Raises:
          subprocess.TimeoutExpired: it runs for longer than `timeout` seconds.
        """
        latest = math.inf if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > latest:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(0.005)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Programs:
    """Starts programs; made by `warm_programs`."""

    def __init__(self, server: subprocess.Popen, environment: Mapping[str, str], ends: Path):
        self._server, self._environment, self._ends, self._count = server, dict(environment), ends, 0

    def start(
        self,
        command: Sequence[str | os.PathLike],
        folder: Path,
        out: Path,
        err: Path | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        powerless: bool = False,
    ) -> Running:
        """Starts a program.

        Args:
          command: a script (below the project's root, or absolute) or "-m NAME" for a module, and its arguments.
          folder: the working directory.
          out, err: files for what the program says; one for both by default.
          environment: all of it; by default that in which the programs were made ready. JAX has read its variables.
          powerless: without the capabilities of root, so that permissions hold for it as for anybody.
        """
        environment = self._environment if environment is None else environment
        for name in {*self._environment, *environment}:
            if name.startswith("JAX_") and environment.get(name) != self._environment.get(name):
                raise ValueError(f"{name} cannot be another for one program: JAX is imported already")
        self._count += 1
        command, ended = [str(word) for word in command], self._ends / str(self._count)
        asked = {"command": command, "folder": str(folder), "said": [str(out), str(err or out)], "ended": str(ended)}
        asked |= {"environment": dict(environment), "powerless": powerless}
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        if not answer:
            raise RuntimeError("the warm process has ended; its own output says why")
        return Running(command, int(answer), err or out, ended)

    def run(self, program: str, arguments: Sequence[str], folder: Path, *, powerless: bool = False) -> Ended:
        """Runs a program in `folder` and waits for its end; what it says is kept beside the folder."""
        out, err = (folder.with_name(f"{folder.name}.{stream}") for stream in ("out", "err"))
        running = self.start([program, *arguments], folder, out, err, powerless=powerless)
        try:
            running.wait(LIMIT)
        except subprocess.TimeoutExpired:
            running.kill()
        return Ended(running.wait(), *(path.read_text(errors="replace") for path in (out, err)))


@contextlib.contextmanager
def warm_programs(environment: Mapping[str, str]) -> Iterator[Programs]:
    """Programs with these variables, on the CPU; those that run at the end are killed."""
    environment = {**environment, "JAX_PLATFORMS": "cpu", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    with tempfile.TemporaryDirectory() as ends:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.slow.trials.warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        try:
            yield Programs(server, environment, Path(ends))
        finally:
            server.stdin.close()
            server.wait()


def _serve() -> None:
    """Answers each line of stdin, a program to start, with its number; its exit status goes to a file."""
    die_with_parent()
    for module in _PRELOAD:
        __import__(module)
    logging.getLogger().handlers.clear()  # one that an import has left would show what no program shows
    gc.freeze()  # or each forked process would copy all that is imported when it ends
    running: dict[int, Path] = {}
    text = b""
    while True:
        if select.select([0], [], [], 0.005 if running else None)[0]:
            more = os.read(0, 2**16)
            if not more:
                return
            *lines, text = (text + more).split(b"\n")
            for asked in map(json.loads, lines):
                child = os.fork()
                if child == 0:
                    die_with_parent()
                    _become(asked)
                    return  # through the end of the interpreter, as a program
                running[child] = Path(asked["ended"])
                print(child, flush=True)
        for child, path in list(running.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                del running[child]
                part = path.with_suffix(".part")
                part.write_text(str(os.waitstatus_to_exitcode(status)))
                part.rename(path)


def _become(asked: dict[str, Any]) -> None:
    """Makes this process the program, and runs it; raises what it raises."""
    files = [os.open(os.devnull, os.O_RDONLY)]
    files += [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666) for path in asked["said"]]
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(asked["environment"])
    if asked["powerless"]:
        _give_up_capabilities()
    os.chdir(asked["folder"])
    program, *arguments = asked["command"]
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    module = program.removeprefix("-m ")
    if module != program:
        sys.path[:0] = ["", *places]
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        script = ROOT / program
        sys.path[:0] = [str(script.parent), *places]
        sys.argv = [str(script), *arguments]
        runpy.run_path(str(script), run_name="__main__")


def _give_up_capabilities() -> None:
    """Drops capabilities, by capset(2): version 3, this thread, and none effective, permitted or inheritable."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "the capabilities cannot be given up")


if __name__ == "__main__":
    _serve()

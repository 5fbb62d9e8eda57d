"""One side of a comparison in a process of its own, so that neither its threads nor its memory touch the other's.

`Worker` starts `python -m benchmarks.worker` and calls the methods of one object in it, one at a time, over a pair of
pipes. Who is not called waits for its pipe and uses no processor.
"""

import importlib
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Collection
from pathlib import Path
from typing import Any

from benchmarks.children import die_with_parent

_ROOT = Path(__file__).parents[1]
_COMPILED_ANEW = {"JAX_ENABLE_COMPILATION_CACHE": "false", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
_MEMORY_AS_NEEDED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # several workers share one GPU


class WorkerError(RuntimeError):
    """An error in a worker; the message ends with its own traceback."""


class Worker:
    """An object that lives in another process.

    Args:
      factory: "module:Class"; the module is imported there, after `cpus` and `environment` hold.
      *arguments: of the class; pickled, as all arguments and results are.
      cpus: the processors that all threads of the worker share, which limits their number in XLA and in PyTorch.
      environment: variables besides those of this process.
    """

    def __init__(self, factory: str, *arguments: Any, cpus: Collection[int], environment: dict[str, str] | None = None):
        variables = {**os.environ, **_COMPILED_ANEW, **_MEMORY_AS_NEEDED, **(environment or {})}
        paths = (str(_ROOT), variables.get("PYTHONPATH"))
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=variables
        )
        self._factory = factory
        # Not waited for: several workers import their libraries side by side.
        self._send((sorted(cpus), factory, arguments))
        self._started = False

    def call(self, method: str, *arguments: Any) -> Any:
        """The result of a method of the object.

        Raises:
          WorkerError: it raised, the object could not be made, or the process died.
        """
        if not self._started:
            self._started = True
            self._receive()
        self._send((method, arguments))
        return self._receive()

    def close(self) -> None:
        """Ends the process and waits until its memory is free."""
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _send(self, message: Any) -> None:
        try:
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def _receive(self) -> Any:
        try:
            good, value = pickle.load(self._process.stdout)
        except EOFError:
            raise self._died() from None
        if not good:
            raise WorkerError(f"{self._factory}: {value}")
        return value

    def _died(self) -> WorkerError:
        return WorkerError(f"{self._factory}: its process ended with status {self._process.wait()}")


def _serve() -> None:
    # Were the benchmark killed, a side in the middle of a long run would go on for minutes.
    die_with_parent()
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not run into the answers

    def answer(function, *arguments) -> Any:
        try:
            value = function(*arguments)
            message = True, value
        except Exception as error:
            value, message = None, (False, f"{_first_line(error)}\n{traceback.format_exc()}")
        pickle.dump(message, answers)
        answers.flush()
        return value

    def create(cpus, factory, arguments):
        os.sched_setaffinity(0, cpus)
        module, name = factory.split(":")
        target.append(getattr(importlib.import_module(module), name)(*arguments))

    target: list[Any] = []
    answer(create, *pickle.load(requests))
    while True:
        try:
            method, arguments = pickle.load(requests)
        except EOFError:
            return
        answer(lambda method=method, arguments=arguments: getattr(target[0], method)(*arguments))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


if __name__ == "__main__":
    _serve()

"""Several processes in one run: they wait for each other, decide alike, and end together."""

import contextlib
import ctypes
import itertools
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from numbers import Integral
from pathlib import Path
from typing import NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from ddim_jax.runtime.errors import INTERRUPTED, TRY_AGAIN, InputError
from ddim_jax.runtime.printable import printable_lines
from ddim_jax.runtime.signals import StopRequest

Result = TypeVar("Result")

HEARTBEAT_SECONDS = 40
"""A process that the runtime has not heard of for so long is lost, and the runtime ends the others."""
PATIENCE_HOURS = 24
"""Limit on the wait for the slowest process: one that is lost is noticed by its heartbeat."""
GRACE_SECONDS = 5.0
"""Process 0 outlives its own error by this: the others end with it, and may have the same error to tell."""
GO_ON = "Start the same command again on all processes, or on another number of them; it goes on from there."

_BROKEN = re.compile(r"(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION):")
"""The beginning of errors of collectives and barriers whose other end is gone."""
_number = itertools.count()
_handlers = []  # the C library keeps only the addresses; the objects have to live as long as the process


def wait_for_all(name: str) -> None:
    """Returns when every process of the run has come here; `name` is the same on all. Alone, it returns at once.

    This is a barrier of the coordination service, not a collective: the first collective on CPUs gives up after 30 s
    if a process is still on its way.
    """
    if jax.process_count() > 1:
        from orbax.checkpoint import multihost  # not at the head: few need it, and it takes long to import

        barrier = multihost.get_barrier_sync_fn()
        barrier(key=f"ddim_jax/{name}/{next(_number)}", timeout_ms=PATIENCE_HOURS * 3600 * 1000)


def broadcast_from_first(value: float | int) -> float:
    """`value` as process 0 has it, rounded to float32, or an int32; every process of the run has to come here.

    A process alone rounds too: a run that goes on with another number of processes decides as before.
    """
    rounded = np.asarray(value, np.int32 if isinstance(value, Integral) else np.float32)
    if jax.process_count() == 1:
        return rounded.item()
    wait_for_all("broadcast_from_first")
    return multihost_utils.broadcast_one_to_all(rounded).item()


def allgather_int(value: int) -> list[int]:
    """The values of all processes, in their order; every process of the run has to come here."""
    if jax.process_count() == 1:
        return [value]
    wait_for_all("allgather_int")
    return multihost_utils.process_allgather(np.int32(value)).tolist()


def run_first_then_others(work: Callable[[], Result]) -> Result:
    """The result of `work` on this process, done by process 0 before the others begin: it may write what they read."""
    if jax.process_index() == 0:
        done = work()
        wait_for_all("run_first_then_others")
        return done
    wait_for_all("run_first_then_others")
    return work()


def check_shared(path: Path, text: str, *, timeout: float = 60.0) -> None:
    """Checks that this process reads in file `path` what process 0 wrote there: `text`, its own idea of it.

    A network file system may take a while to show a new file.

    Raises:
      InputError: the file is not there, or says something else.
    """
    end = time.monotonic() + timeout
    while True:
        try:
            found = path.read_text(encoding="utf-8")
        except OSError:
            found = None
        if found == text:
            return
        if time.monotonic() > end:
            break
        time.sleep(0.5)
    if found is None:
        raise InputError(
            f"{path}: written by process 0, not seen by process {jax.process_index()}; the run has to lie on a file "
            "system that all processes share (--workdir)"
        )
    raise InputError(
        f"{path}: process 0 wrote another configuration there than process {jax.process_index()} has; start all "
        "processes with the same arguments, and with a --workdir that they share"
    )


class PeerLossMessage:
    """The message of a process when another one of its run is lost.

    Attributes:
      checkpoint: the sentence about the last checkpoint.
    """

    def __init__(self):
        self.checkpoint = "There is no checkpoint yet"

    def __str__(self) -> str:
        return (
            f"{_this()} ends, for another one is lost: that failed, was "
            "killed or ran out of memory, or its machine or the network is gone; its own output, and the lines above, "
            f"may say more. {self.checkpoint}. {GO_ON}"
        )


@contextlib.contextmanager
def ending_together(request: StopRequest) -> Iterator[PeerLossMessage]:
    """Ends this process with a message where another one is lost, and at once where the block raises an error.

    The runtime exchanges heartbeats (`jax.distributed.initialize`). Where one stays away for `HEARTBEAT_SECONDS` it
    calls abort() in every other process, which here gives a readable last line and the exit status TRY_AGAIN. An error
    ends the process without the clean-up of the interpreter, which would wait for the others. So does a signal that
    `request` hears, until `request.leave_at_once(None)`. Alone, it does nothing.
    """
    peer_loss = PeerLossMessage()
    if jax.process_count() == 1:
        yield peer_loss
        return
    say_on_abort(lambda: str(peer_loss))
    request.leave_at_once(lambda _: _say(f"{_this()}: stopped before training began"))
    try:
        yield peer_loss
    except BaseException as error:
        if _BROKEN.match(str(error)):
            time.sleep(1.5 * HEARTBEAT_SECONDS)  # where the other end is lost, the runtime ends this process meanwhile
        _fail(error)


def _fail(error: BaseException) -> NoReturn:
    if isinstance(error, KeyboardInterrupt):
        text, status = "stopped by Ctrl-C", INTERRUPTED
    elif isinstance(error, InputError | OSError):  # there is no more to say
        text, status = str(error), getattr(error, "exit_status", 2)
    else:
        traceback.print_exception(error)
        text, status = f"{type(error).__name__}: {error}", 1
    _say(f"{_this()}: {text}")
    say_on_abort(None, status)  # where process 0 is gone first
    if jax.process_index() == 0:
        time.sleep(GRACE_SECONDS)
    os._exit(status)


def say_on_abort(text: Callable[[], str] | None, status: int = TRY_AGAIN) -> Callable[[], None]:
    """Makes abort() say `error: text()` and exit with `status`, not dump a core.

    The runtime aborts from a thread of its own: no Python exception, no `atexit`. Python's `signal.signal` does not do,
    for abort() raises the signal and ends the process before an interpreter that only noted it gets a turn. Registered
    with the C library, the handler runs in the thread that aborts.

    Args:
      text: None says nothing.
      status: of the process.

    Returns:
      A function that takes it back, so that abort() does what it did before.
    """

    def aborted(number: int) -> None:
        if text is not None:
            _say(text())
        os._exit(status)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(aborted)
    library = ctypes.CDLL(None)
    library.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    library.signal.restype = ctypes.c_void_p
    before = library.signal(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))
    _handlers.append(handler)
    return lambda: library.signal(signal.SIGABRT, before)


def _this() -> str:
    return f"process {jax.process_index()} of {jax.process_count()}"


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # stderr may be gone
        print(f"error: {printable_lines(text)}", file=sys.stderr, flush=True)

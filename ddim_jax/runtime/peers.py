"""The other processes of a run, watched: one that is lost or fails ends the others, and all stop at the same step.

A collective waits for ever for a process that is gone, and where it does notice, it says that a connection was closed.
So each process writes a beat on the board that the runtime keeps for small notes (the key-value store of
`jax.distributed`), looks at the beats of the others, and ends itself with a message when one has been silent too long.
Nothing of this waits in the training step. A thread of its own beats: one that is gone or frozen as a whole is noticed,
one whose training alone hangs is not.
"""

import contextlib
import re
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

import jax
from jax._src import distributed  # the board has no public name; multihost_utils and Orbax reach it in this way

from ddim_jax.runtime.abort import end, say_on_abort
from ddim_jax.runtime.errors import INTERRUPTED, TRY_AGAIN, InputError
from ddim_jax.runtime.signals import StopRequest, exit_status

SILENCE_SECONDS = 30.0
"""A process that was not heard of for so long is lost."""
TICK_SECONDS = 1.0
"""Between two looks at the board."""
GRACE_SECONDS = 5.0
"""How long a process that fails leaves the others to read why, or to fail by the same cause."""

GO_ON = "Start the same command again on all processes, or on another number of them; it goes on from there."
MEND = "Mend that and start the same command again on all processes; it goes on from there."

_BOARD = "ddim_jax/"
_MAY_BE_A_PEER = re.compile(r"(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION):")
"""How errors of a collective begin whose other end is gone."""


class Alone:
    """A run of one process: it stops when it is asked to."""

    def __init__(self, request: StopRequest):
        self._request = request
        self.checkpoint = ""

    def begin(self, step: int) -> None:
        pass

    def stops_after(self, step: int) -> bool:
        return bool(self._request)

    @property
    def is_stopping(self) -> bool:
        return bool(self._request)

    @property
    def ended_by(self) -> str:
        return str(self._request.signal_name)

    @property
    def reason(self) -> str:
        return self.ended_by


class Peers:
    """As `Alone`, for one of several processes.

    Attributes:
      checkpoint: what is told of the last checkpoint when a process is lost.
    """

    def __init__(self, board: Any, index: int, count: int, request: StopRequest):
        self.checkpoint = "There is no checkpoint yet"
        self._named: list[tuple[int, str]] = []  # who got a signal, and which, once a stop is agreed
        self._board, self._index, self._count, self._request = board, index, count, request
        self._lock = threading.Lock()
        self._may_begin: int | None = None  # the last step that this process begins without asking; None: not training
        self._asked = False  # whether what stands above is on the board, and so may not change
        self._last_step: int | None = None
        self._agreed = threading.Event()
        self._over = threading.Event()
        self._leaving = threading.Event()
        self._heard = dict.fromkeys(range(count), ("", time.monotonic()))
        self._thread = threading.Thread(target=self._watch, name="peers", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def begin(self, step: int) -> None:
        """Training begins with `step`: from here on a stop can be agreed."""
        with self._lock:
            self._may_begin = step

    def stops_after(self, step: int) -> bool:
        """Whether `step`, begun on this process, is the last: the same answer for the same step on all processes.

        It costs no message. Only once somebody is asked to stop does each process say how far it has got and wait for
        the others to; the furthest step is the last.
        """
        with self._lock:
            if not self._asked:
                self._may_begin = step + 1
                return False
        self._agreed.wait()  # not for ever: the watch ends the process if one of the others does not answer
        return step >= self._last_step

    @property
    def is_stopping(self) -> bool:
        """Whether a stop is agreed, as far as this process knows: the others may know a moment sooner or later."""
        return self._agreed.is_set()

    @property
    def ended_by(self) -> str:
        """The signal, once the run is known to stop: the same on all processes."""
        self._agreed.wait()  # another process knew it sooner, so all have answered
        return self._named[0][1]

    @property
    def reason(self) -> str:
        """The signal, and the process that got it."""
        return f"{self.ended_by} to process {self._named[0][0]}"

    def finish(self) -> None:
        """Tells the others that this process is done, and stops watching."""
        self._over.set()
        self._thread.join()
        self._write("done", "")

    def fail(self, error: BaseException) -> NoReturn:
        """Ends this process because of `error`, after telling the others.

        Where the error is that of a broken connection, the watch gets the time to find out whose.
        """
        if _MAY_BE_A_PEER.match(str(error)):
            self._thread.join(SILENCE_SECONDS + GRACE_SECONDS)  # which ends the process if a peer is lost
        self._leaving.set()
        told = isinstance(error, InputError | OSError | KeyboardInterrupt)  # there is no more to say
        status, what = (2, f"{error}") if told else (1, f"{type(error).__name__}: {error}")
        status = getattr(error, "exit_status", status)
        if isinstance(error, KeyboardInterrupt):
            status, what = INTERRUPTED, "stopped by Ctrl-C"
        if not told:
            traceback.print_exception(error)
        self._end(what, status)

    def leave(self, signal_name: str) -> NoReturn:
        """Ends this process, which was asked to stop before training began, after telling the others."""
        self._leaving.set()
        self._end("stopped before training began", exit_status(signal_name))

    def _watch(self) -> None:
        try:
            while not self._over.wait(TICK_SECONDS if not self._asked or self._agreed.is_set() else 0.1):
                self._tick()
        except Exception as error:
            if not self._over.is_set() and not self._leaving.wait(GRACE_SECONDS):
                lost = f"process 0, which coordinates, cannot be reached from process {self._index} ({error})"
                self._leave(lost if self._index else f"the board of the run is gone ({error})")

    def _tick(self) -> None:
        self._write("alive", repr(time.time()))
        notes = {key.rpartition(_BOARD)[2]: value for key, value in self._board.key_value_dir_get(_BOARD)}
        self._look_for_stop(notes)
        now = time.monotonic()
        for peer in set(range(self._count)) - {self._index}:
            failure = notes.get(f"failed/{peer}")
            # Half of what that one waits: if it is process 0, the board goes with it.
            if failure is not None and not self._leaving.wait(GRACE_SECONDS / 2):
                status, _, why = failure.partition(" ")
                if int(status) in (INTERRUPTED, TRY_AGAIN):
                    verb = "was" if why.startswith("stopped ") else "ended:"
                    self._leave(f"process {peer} of {self._count} {verb} {why}")
                end(f"process {peer} of {self._count} ended: {why}. {self.checkpoint}. {MEND}", int(status))
            beat = notes.get(f"alive/{peer}", "")
            if beat != self._heard[peer][0]:
                self._heard[peer] = (beat, now)
            silent = now - self._heard[peer][1]
            if silent > SILENCE_SECONDS and f"done/{peer}" not in notes and not self._leaving.is_set():
                self._leave(
                    f"process {peer} of {self._count} is lost: nothing was heard of it for {silent:.0f} s. It was "
                    "killed, ran out of memory, or its machine or network is gone; what it wrote last may say more"
                )

    def _look_for_stop(self, notes: dict[str, str]) -> None:
        stops = {int(key.removeprefix("stop/")): note for key, note in notes.items() if key.startswith("stop/")}
        if not self._asked and (stops or self._request):
            with self._lock:
                if self._may_begin is None:
                    return
                self._asked = True
            self._write("stop", f"{self._may_begin} {self._request.signal_name or ''}")
        elif self._asked and len(stops) == self._count and not self._agreed.is_set():
            told = {peer: note.split(" ") for peer, note in stops.items()}
            self._last_step = max(int(step) for step, _ in told.values())
            self._named = sorted((peer, name) for peer, (_, name) in told.items() if name)  # one at least: it began
            self._agreed.set()

    def _end(self, what: str, status: int) -> NoReturn:
        """Ends after telling the others and waiting a while for all to fail, as they do where the cause is the same."""
        text = f"process {self._index} of {self._count}: {what}"
        say_on_abort(lambda: text, status)  # process 0 may be gone first, and the runtime aborts then
        with contextlib.suppress(Exception):  # the board may be gone as well
            self._write("failed", f"{status} {what}")
            last = time.monotonic() + GRACE_SECONDS
            while time.monotonic() < last and len(self._board.key_value_dir_get(_BOARD + "failed/")) < self._count:
                time.sleep(0.1)
        end(text, status)

    def _write(self, kind: str, note: str) -> None:
        self._board.key_value_set(f"{_BOARD}{kind}/{self._index}", note, allow_overwrite=True)

    def _leave(self, what: str) -> None:
        end(f"{what}. {self.checkpoint}. {GO_ON}", TRY_AGAIN)


@contextlib.contextmanager
def watched_peers(request: StopRequest) -> Iterator[Alone | Peers]:
    """The other processes while the block runs; an error in it ends this process where there are others.

    The others would wait for it otherwise, and so would the end of the interpreter for them.
    """
    if jax.process_count() == 1:
        yield Alone(request)
        return
    state = distributed.global_state
    peers = Peers(state.client, jax.process_index(), jax.process_count(), request)
    say_on_abort(lambda: f"{_cause_of_abort(peers, state.coordinator_address)}. {peers.checkpoint}. {GO_ON}")
    peers.start()
    request.leave_at_once(peers.leave)  # until training begins
    try:
        yield peers
    except BaseException as error:
        peers.fail(error)
    peers.finish()


def _cause_of_abort(peers: Peers, coordinator: str) -> str:
    """The runtime aborts when the board is gone, and for reasons of its own."""
    if peers._index == 0:
        return "the runtime ended process 0, for the reason above"
    return (
        f"the runtime ended process {peers._index}, most likely because process 0 of {peers._count}, which coordinates "
        f"the others at {coordinator}, is lost: its own output, or the lines above, may say more"
    )

"""Processes of one run that tell each other that they live, and forgive a silence that was their own."""

import queue
import threading
from collections.abc import Callable

BEAT_SECONDS = 10.0
"""The time from one heartbeat to the next."""
ANSWER_SECONDS = 12.0
"""Limit on the wait for the others at a heartbeat."""
SILENT_SECONDS = ANSWER_SECONDS + 1.0
"""Limit on the wait for the runtime's word on a heartbeat: it sets none itself where process 0 is silent."""
MISSES = 2
"""So many heartbeats in a row that not all came to: somebody is lost, at most 36 s after the last one."""


class Heartbeats:
    """A thread of each process that meets those of the others every few seconds, until `stop`.

    The runtime's own heartbeats (`jax.distributed.initialize`) would do, but where the whole run was suspended, as a
    laptop or a virtual machine is, or by SIGSTOP, they take each process's own silence for that of the others. Here
    all miss one meeting then, and come to the next.

    Args:
      lost: called from the thread where somebody is lost, with what the runtime says.
    """

    def __init__(self, lost: Callable[[str], None]):
        from orbax.checkpoint import multihost  # not at the head: few need it, and it takes long to import

        self._lost = lost
        self._stop = threading.Event()
        self._meet = multihost.get_barrier_sync_fn()
        self._thread = threading.Thread(target=self._beat, name="heartbeats", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the meetings; all processes have to come here at about the same time."""
        self._stop.set()
        self._thread.join(BEAT_SECONDS + MISSES * SILENT_SECONDS)

    def _beat(self) -> None:
        number = missed = 0
        answer = None
        while not self._stop.is_set():
            if answer is None:
                if missed == 0:
                    self._stop.wait(BEAT_SECONDS)
                number += 1
                answer = self._ask(number)
            try:
                error = answer.get(timeout=SILENT_SECONDS)
                answer = None
            except queue.Empty:  # it may still come, where this process was suspended itself
                error = f"process 0 did not answer for {SILENT_SECONDS:.0f} s"
            missed = missed + 1 if error else 0
            if missed == MISSES and not self._stop.is_set():
                self._lost(error)
                return

    def _ask(self, number: int) -> "queue.SimpleQueue[str | None]":
        """Begins a meeting; what it returns gets None once all have come, or else why not."""
        answer: queue.SimpleQueue[str | None] = queue.SimpleQueue()

        def meet() -> None:
            try:
                self._meet(key=f"ddim_jax/alive/{number}", timeout_ms=int(ANSWER_SECONDS * 1000))
                answer.put(None)
            except Exception as error:  # of the runtime: a deadline, or the connection to process 0
                answer.put(str(error) or type(error).__name__)

        threading.Thread(target=meet, name="heartbeat", daemon=True).start()
        return answer

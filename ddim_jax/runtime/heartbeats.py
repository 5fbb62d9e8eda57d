"""Processes of one run that tell each other that they live, and forgive a silence that was their own."""

import threading
from collections.abc import Callable

from orbax.checkpoint import multihost

BEAT_SECONDS = 10.0
"""The time from one heartbeat to the next."""
ANSWER_SECONDS = 12.0
"""Limit on the wait for the others at a heartbeat."""
MISSES = 2
"""So many heartbeats in a row that not all came to: somebody is lost, at most 34 s after the last one."""


class Heartbeats:
    """A thread of each process that meets those of the others every few seconds, until `stop`.

    The runtime's own heartbeats (`jax.distributed.initialize`) would do, but where the whole run was suspended, as a
    laptop or a virtual machine is, or by SIGSTOP, they take each process's own silence for that of the others. Here
    all miss one meeting then, and come to the next.

    Args:
      lost: called from the thread where somebody is lost, with what the runtime says.
    """

    def __init__(self, lost: Callable[[str], None]):
        self._lost = lost
        self._stop = threading.Event()
        self._meet = multihost.get_barrier_sync_fn()
        self._thread = threading.Thread(target=self._beat, name="heartbeats", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the meetings; all processes have to come here at about the same time."""
        self._stop.set()
        self._thread.join(BEAT_SECONDS + MISSES * ANSWER_SECONDS)

    def _beat(self) -> None:
        number = missed = 0
        while not self._stop.is_set():
            if missed == 0:
                self._stop.wait(BEAT_SECONDS)
            number += 1
            try:
                self._meet(key=f"ddim_jax/alive/{number}", timeout_ms=int(ANSWER_SECONDS * 1000))
                missed = 0
            except Exception as error:  # of the runtime: a deadline, or the connection to process 0
                missed += 1
                if missed == MISSES and not self._stop.is_set():
                    self._lost(str(error))
                    return

"""A signal to any process of a run, or a disk that refuses its numbers, stops all of them after the same step."""

import signal

import jax
import numpy as np
from jax.sharding import Mesh

from ddim_jax.runtime.processes import allgather_int
from ddim_jax.runtime.signals import StopRequest
from ddim_jax.training.sharding import global_batch
from ddim_jax.training.step import STOP, Batch


class Stop:
    """Says after which step a run stops.

    One process stops as soon as it is asked to, by a signal or by itself (`ask`). Several put into each batch whether
    they were asked to, and the step returns whether any was (`flagged`): the answer of a step is the same on all
    processes, which read it at the same place of the loop (`see`). That costs no message of its own and nobody waits.
    """

    def __init__(self, request: StopRequest, mesh: Mesh):
        self._request, self._mesh = request, mesh
        self._several = jax.process_count() > 1
        self._seen = self._asked = False

    def ask(self) -> None:
        """Asks for a stop without a signal: whoever does so ends this process by itself once a checkpoint is saved."""
        self._asked = True

    @property
    def _wanted(self) -> bool:
        return self._asked or bool(self._request)

    def flagged(self, batch: Batch) -> Batch:
        """The batch, with the flag of this process for each of its devices where there are several processes."""
        if not self._several:
            return batch
        flags = np.full(len(self._mesh.local_devices), self._wanted, np.int32)
        return {**batch, **global_batch(self._mesh, {STOP: flags})}

    def see(self, any_was_asked: bool) -> None:
        """Takes the answer of a step that is done."""
        self._seen = self._seen or any_was_asked

    def __bool__(self) -> bool:
        """True if the run is to stop after the step that was begun last."""
        return self._seen if self._several else self._wanted

    def is_asked_anywhere(self) -> bool:
        """True if any process was asked to stop; all processes have to come here."""
        self.see(any(allgather_int(int(self._wanted))))
        return bool(self)

    def reason(self) -> tuple[str, str]:
        """The signal that stops the run, and the same with the process that got it; all processes have to come here."""
        number = signal.Signals[self._request.signal_name].value if self._request else 0
        numbers = allgather_int(number)
        process = next(index for index, number in enumerate(numbers) if number)
        name = signal.Signals(numbers[process]).name
        return name, f"{name} to process {process}" if self._several else name

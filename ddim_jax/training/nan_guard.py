"""Watches the losses of steps that the device is still working on."""

import contextlib
from collections import deque
from collections.abc import Iterator

import jax
import numpy as np

from ddim_jax.checkpoints import CheckpointStore
from ddim_jax.runtime.errors import InputError
from ddim_jax.training.step import STOP, Metrics
from ddim_jax.training.stopping import Stop


class NonFiniteLoss(InputError):
    """The loss or the gradient of a step is not a number; the message names the step."""


class LossWatch:
    """Collects the metrics of steps without waiting for them, and finds the first that is not finite.

    Args:
      ahead: steps that wait on the device behind the one under way: one keeps it busy, more would make a stop slower.
      stop: told what the steps say of a stop.
    """

    def __init__(self, ahead: int = 1, stop: Stop | None = None):
        self._ahead = ahead
        self._stop = stop
        self._pending: deque[tuple[int, Metrics]] = deque()
        self._values: list[dict[str, float]] = []

    def add(self, step: int, metrics: Metrics) -> None:
        """Takes the metrics of step number `step` (the first step is 1).

        Raises:
          NonFiniteLoss: an earlier step, now done, went wrong.
        """
        self._pending.append((step, metrics))
        while len(self._pending) > self._ahead:
            self._fetch()

    def drain(self) -> dict[str, float]:
        """Waits for all steps and returns the mean of each metric since the last call; empty without steps.

        Raises:
          NonFiniteLoss: a step went wrong.
        """
        while self._pending:
            self._fetch()
        values, self._values = self._values, []
        return {name: float(np.mean([v[name] for v in values])) for name in (values[0] if values else {})}

    def _fetch(self) -> None:
        step, metrics = self._pending.popleft()
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if STOP in values:
            self._stop.see(values.pop(STOP) > 0)
        for name, value in values.items():
            if not np.isfinite(value):
                raise NonFiniteLoss(f"the {name.replace('_', ' ')} of step {step} is {value}")
        self._values.append(values)


@contextlib.contextmanager
def last_good_checkpoint_named(store: CheckpointStore) -> Iterator[None]:
    """Adds to a `NonFiniteLoss` of the block which checkpoint is left, and what to try."""
    try:
        yield
    except NonFiniteLoss as error:
        last = store.steps()
        kept = f"the last good checkpoint is step {last[-1]}" if last else "there is no checkpoint yet"
        raise NonFiniteLoss(
            f"{error}; stopped, {kept} in {store.directory}. Start again with a lower train.learning_rate, more "
            "train.warmup_steps or a train.gradient_clip of 1, in another --workdir."
        ) from error

"""One case, measured: the sides agree first, then take turns, one run each."""

import contextlib
import dataclasses
import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.speed.cases import Case
from benchmarks.worker import Worker, WorkerError

_SLOW_S = 20.0
"""A side whose run takes longer is run once."""
_LEAST_RUNS = 3
_RUN_S = 0.2
"""Calls that take less are put together to runs of about this length, which hides the clock and the pipe."""

StartSide = Callable[[str], Worker]


@dataclasses.dataclass(frozen=True)
class Effort:
    """The number of runs of a side: at most `runs` times, and not for longer than `seconds` where three runs are done.

    Sides that do not fit into the memory together come round `visits` times.
    """

    runs: int
    seconds: float
    visits: int = 1

    def runs_of(self, run_s: float) -> int:
        """The runs of a side, one of which takes `run_s`."""
        if run_s > _SLOW_S:
            return 1
        return max(min(self.runs, _LEAST_RUNS), min(self.runs, int(self.seconds / run_s)))


@dataclasses.dataclass
class Measured:
    """Times, memory and difference of one side of a case."""

    compile_s: float | None = None
    first_s: float = math.nan
    times: list[float] = dataclasses.field(default_factory=list)
    peak_bytes: int | None = None
    difference: float | None = None

    def row(self, case: Case, side: str) -> dict[str, Any]:
        """The row of the result file, but for the roofline. The spread is the longest run less the shortest."""
        median = statistics.median(self.times) if self.times else None
        compile_s = self.compile_s
        if side == "torch_compile" and median is not None:
            compile_s = max(self.first_s - median, 0.0)  # it compiles in its first call
        return {
            "case": case.kind,
            "model": case.model,
            "side": side,
            "dtype": case.dtype,
            "size": case.size,
            "batch": case.batch,
            "steps": case.steps,
            **({"pictures": case.pictures} if case.pictures > 1 else {}),
            "runs": len(self.times),
            "median_s": median,
            "spread_s": max(self.times) - min(self.times) if self.times else None,
            "compile_s": compile_s,
            "peak_bytes": self.peak_bytes,
            "difference": self.difference,
        }


def measure_case(case: Case, start: StartSide, effort: Effort) -> tuple[list[dict], dict[str, str]]:
    """The rows of a case, and the sides that could not be measured with the reason.

    Raises:
      Disagreement: a side does not compute what the first side does; nothing of the case is reported then.
    """
    if not case.timed:
        return [_compiled_only(case, side, start) for side in case.sides], {}
    measured: dict[str, Measured] = {side: Measured() for side in case.sides}
    failed: dict[str, str] = {}
    reference: dict[str, Any] = {}
    for visit in _visits(case, effort.visits):
        _visit(case, [side for side in visit if side not in failed], start, effort, measured, failed, reference)
    return [measured[side].row(case, side) for side in case.sides if side not in failed], failed


def measure_loop(case: Case, worker: Worker) -> list[dict]:
    """Two rows: the whole training loop as "ours", and the same step without a loop around it as "bare_step"."""
    rows = []
    for side, method in (("bare_step", "bare_step"), ("ours", "loop")):
        rows.append(Measured(times=worker.call(method)).row(case, side))
    return rows


def _visits(case: Case, visits: int) -> list[tuple[str, ...]]:
    """The sides that are in memory together, visit after visit; one by one they come round forwards, then backwards."""
    if case.together:
        return [case.sides]
    return [(side,) for turn in range(visits) for side in case.sides[:: -1 if turn % 2 else 1]]


def _compiled_only(case: Case, side: str, start: StartSide) -> dict:
    with start(side) as worker:
        return Measured(compile_s=worker.call("compile")).row(case, side)


def _visit(case, sides, start, effort, measured, failed, reference) -> None:
    with contextlib.ExitStack() as stack:
        workers = {side: stack.enter_context(start(side)) for side in sides}
        ready = {}
        for side, worker in workers.items():
            try:
                ready[side] = _prepare(case, side, worker, measured[side], reference)
            except WorkerError as error:
                failed[side] = str(error).splitlines()[0]
                worker.close()
        plan = {side: effort.runs_of(call_s * calls) for side, (call_s, calls) in ready.items()}
        for side in _turns(plan):
            measured[side].times.append(workers[side].call("run", ready[side][1]))
        for side in ready:
            peak = workers[side].call("peak_bytes")
            measured[side].peak_bytes = max(peak, measured[side].peak_bytes or 0)


def _prepare(case, side, worker, measured: Measured, reference) -> tuple[float, int]:
    """Compiles, checks and warms up one side; (seconds of a call, calls of a run)."""
    compile_s = worker.call("compile")
    output, first_s = worker.call("first")
    if measured.compile_s is None:  # of two visits the first counts
        measured.compile_s, measured.first_s = compile_s, first_s
    if not reference:
        reference.update(side=side, output=output)
    else:
        measured.difference = check_agreement(case, side, output, reference["side"], reference["output"])
    call_s = first_s
    if side == "torch_compile" or first_s < _SLOW_S:
        call_s = worker.call("run", 1)
    if side == "torch_compile":  # it may compile once more, for what changed after the first call
        call_s = worker.call("run", 1)
    worker.call("watch_memory")
    return call_s, max(1, math.ceil(_RUN_S / call_s))


def _turns(plan: dict[str, int]) -> Iterator[str]:
    """The sides in the order of their runs: round after round, a side with fewer runs spread evenly over the rounds."""
    rounds = max(plan.values(), default=0)
    for turn in range(rounds):
        for side, runs in plan.items():
            if (turn + 1) * runs // rounds > turn * runs // rounds:
                yield side


LIMITS = {
    "forward": {"float32": 1e-3, "tf32": 2e-2, "bfloat16": 5e-2},
    "segment": {"float32": 1e-2, "tf32": 5e-2, "bfloat16": 1e-1},
    "train_step": {"float32": 1e-3, "tf32": 2e-2, "bfloat16": 5e-2},
}
"""Largest difference of outputs, losses and gradient norms, in norm and relative. A sampler feeds every step's rounding
to the next; the formats round to 2^-24, 2^-11 and 2^-9."""
UPDATE_LIMITS = {"float32": 0.1, "tf32": 0.3, "bfloat16": 0.5}
"""The same for the change of the weights: Adam's first step is the learning rate times the gradient's sign, so a
gradient near zero whose rounding differs counts in full."""


class Disagreement(RuntimeError):
    """Two sides of a case do not compute the same."""


def check_agreement(
    case: Case, side: str, found: dict[str, np.ndarray], reference_side: str, reference: dict[str, np.ndarray]
) -> float:
    """Compares what two sides gave for the same weights and inputs.

    Returns:
      The largest relative difference, changes of the weights aside.

    Raises:
      Disagreement: a difference is above its limit, not finite, or a value is missing; says by how much.
    """
    if found.keys() != reference.keys():
        raise Disagreement(f"{case.label}: {side} gives {sorted(found)}, {reference_side} {sorted(reference)}")
    worst = 0.0
    for name, expected in reference.items():
        changed = "update" in name
        limit = UPDATE_LIMITS[case.dtype] if changed else LIMITS[case.kind][case.dtype]
        difference = relative_difference(found[name], expected)
        if not difference <= limit:
            raise Disagreement(
                f"{case.label}: {name} of {side} differs from that of {reference_side} by {difference:.2g} of its "
                f"norm; at most {limit:.2g} is allowed, so the case is not timed"
            )
        worst = worst if changed else max(worst, difference)
    return worst


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """||found - expected|| / ||expected||, in float64; NaN or infinity where one of them is not finite."""
    found, expected = (np.asarray(array, np.float64).ravel() for array in (found, expected))
    if found.shape != expected.shape:
        return float("inf")
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))

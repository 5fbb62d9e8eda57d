"""What the package promises of its speed, beside what was measured. A bar that is missed is told like the others."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.cases import CPU_STEPS, DTYPES, SAMPLER_STEPS
from benchmarks.markdown import verdict

LIGHT, STANDARD = "lightweight_ddim", "ddim"


class Bar(NamedTuple):
    """One promise.

    Attributes:
      promise: in words, with its limit.
      limit: the largest or smallest value that keeps it.
      at_most: whether `limit` is the largest; else it is the smallest.
      unit: of `limit` and `value`, "" for a ratio.
      value: what was measured, None if a part of it was not.
    """

    promise: str
    limit: float
    at_most: bool
    unit: str
    value: float | None

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        return verdict(self.value <= self.limit if self.at_most else self.value >= self.limit)


def bars_of(result: dict[str, Any]) -> list[Bar]:
    """The bars of a result file's suite."""
    return (_cpu_bars if result["suite"] == "cpu" else _gpu_bars)(_Measured(result["rows"]))


class _Measured(NamedTuple):
    """The rows, asked by the values of some of their fields."""

    rows: Sequence[Mapping[str, Any]]

    def row(self, **wanted: Any) -> Mapping[str, Any] | None:
        """The first with these values."""
        found = [row for row in self.rows if all(row[name] == wish for name, wish in wanted.items())]
        return found[0] if found else None

    def value(self, field: str, **wanted: Any) -> float | None:
        row = self.row(**wanted)
        return None if row is None else row[field]

    def time_of(self, side: str, other: str, **case: Any) -> float | None:
        """The time of one side in times of another's, both of one run; None where they never took turns.

        A side that was added to the file later has with it what the others took beside it (`benchmarks.run.added`).
        """
        above, below = (self.row(side=name, **case) for name in (side, other))
        if above is None or below is None:
            return None
        if other in above.get("beside", {}):
            return above["median_s"] / above["beside"][other]
        if side in below.get("beside", {}):
            return below["beside"][side] / below["median_s"]
        return None if "beside" in above or "beside" in below else _ratio(above["median_s"], below["median_s"])


def _cpu_bars(measured: _Measured) -> list[Bar]:
    forward = {"case": "forward", "size": 256, "batch": 1}
    train = {"case": "train_step", "size": 64, "batch": 4}
    sampler = {"case": "segment", "steps": SAMPLER_STEPS}
    light, eager = {"model": LIGHT, "side": "ours"}, {"model": LIGHT, "side": "torch_eager"}
    value = measured.value

    def time_of_eager(case: dict[str, Any]) -> float | None:
        return measured.time_of("ours", "torch_eager", model=LIGHT, **case)

    def memory_of_eager(case: dict[str, Any]) -> float | None:
        return _ratio(value("peak_bytes", **case, **light), value("peak_bytes", **case, **eager))

    bars = [
        Bar("light forward, batch 1: time of eager PyTorch", 1.0, True, "", time_of_eager(forward)),
        Bar("light train step: time of eager PyTorch", 1.0, True, "", time_of_eager(train)),
        Bar("compiling that train step", 30.0, True, "s", value("compile_s", **train, **light)),
        Bar("compiling the sampler of 50 steps", 20.0, True, "s", value("compile_s", **sampler, **light)),
        Bar(
            "light forward: time of ddim's",
            0.2,
            True,
            "",
            _ratio(value("median_s", **forward, **light), value("median_s", **forward, model=STANDARD, side="ours")),
        ),
    ]
    segment = {"case": "segment", "steps": CPU_STEPS}
    cases = {
        "forward, batch 1": forward,
        "forward, batch 8": {**forward, "batch": 8},
        "train step": train,
        "segmentation": segment,
    }
    bars += [
        Bar(f"light {name}: peak memory of eager PyTorch", 1.2, True, "", memory_of_eager(case))
        for name, case in cases.items()
    ]
    return bars


def _gpu_bars(measured: _Measured) -> list[Bar]:
    bars = []
    value = measured.value
    for dtype in reversed(DTYPES):

        def time(kind: str, side: str, model: str = LIGHT, dtype: str = dtype) -> float | None:
            return value("median_s", case=kind, side=side, model=model, dtype=dtype)

        def speed_of(kind: str, other: str, dtype: str = dtype) -> float | None:
            return measured.time_of(other, "ours", case=kind, model=LIGHT, dtype=dtype)

        train, segment = time("train_step", "ours"), time("segment", "ours")
        bars += [
            Bar(
                f"{dtype}: light train step, throughput of eager PyTorch",
                2.0,
                False,
                "",
                speed_of("train_step", "torch_eager"),
            ),
            Bar(
                f"{dtype}: light train step, throughput of torch.compile",
                1.2,
                False,
                "",
                speed_of("train_step", "torch_compile"),
            ),
            Bar(
                f"{dtype}: one picture, 50 steps x 5 samples, light: speed of eager PyTorch",
                5.0,
                False,
                "",
                speed_of("segment", "torch_eager"),
            ),
            Bar(f"{dtype}: one picture, 50 steps x 5 samples, light", 0.25, True, "s", segment),
            Bar(
                f"{dtype}: light train step: time of ddim's",
                0.3,
                True,
                "",
                _ratio(train, time("train_step", "ours", STANDARD)),
            ),
            Bar(
                f"{dtype}: one picture, light: time of ddim's",
                0.3,
                True,
                "",
                _ratio(segment, time("segment", "ours", STANDARD)),
            ),
        ]
    loop = {"case": "train_loop", "model": LIGHT}
    whole, bare = value("median_s", **loop, side="ours"), value("median_s", **loop, side="bare_step")
    bars.append(Bar("whole training loop, data included: time of its bare step", 1.05, True, "", _ratio(whole, bare)))
    return bars


def _ratio(above: float | None, below: float | None) -> float | None:
    return None if above is None or below is None else above / below

"""What the package promises of its speed, beside what was measured. A bar that is missed is told like the others."""

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.cases import CPU_STEPS, DTYPES, SAMPLER_STEPS

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
        return "met" if (self.value <= self.limit if self.at_most else self.value >= self.limit) else "**missed**"


def bars_of(result: dict[str, Any]) -> list[Bar]:
    """The bars of a result file's suite."""
    rows = result["rows"]

    def value(field: str, **wanted: Any) -> float | None:
        found = [row for row in rows if all(row[name] == wish for name, wish in wanted.items())]
        return found[0][field] if found else None

    return _cpu_bars(value) if result["suite"] == "cpu" else _gpu_bars(value)


def _cpu_bars(value: Callable[..., float | None]) -> list[Bar]:
    forward = {"case": "forward", "size": 256, "batch": 1}
    train = {"case": "train_step", "size": 64, "batch": 4}
    sampler = {"case": "segment", "steps": SAMPLER_STEPS}
    light, eager = {"model": LIGHT, "side": "ours"}, {"model": LIGHT, "side": "torch_eager"}

    def against_eager(field: str, case: dict[str, Any]) -> float | None:
        return _ratio(value(field, **case, **light), value(field, **case, **eager))

    bars = [
        Bar("light forward, batch 1: time of eager PyTorch", 1.0, True, "", against_eager("median_s", forward)),
        Bar("light train step: time of eager PyTorch", 1.0, True, "", against_eager("median_s", train)),
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
        Bar(f"light {name}: peak memory of eager PyTorch", 1.2, True, "", against_eager("peak_bytes", case))
        for name, case in cases.items()
    ]
    return bars


def _gpu_bars(value: Callable[..., float | None]) -> list[Bar]:
    bars = []
    for dtype in reversed(DTYPES):

        def time(kind: str, side: str, model: str = LIGHT, dtype: str = dtype) -> float | None:
            return value("median_s", case=kind, side=side, model=model, dtype=dtype)

        train, segment = time("train_step", "ours"), time("segment", "ours")
        eager = _ratio(time("train_step", "torch_eager"), train)
        compiled = _ratio(time("train_step", "torch_compile"), train)
        bars += [
            Bar(f"{dtype}: light train step, throughput of eager PyTorch", 2.0, False, "", eager),
            Bar(f"{dtype}: light train step, throughput of torch.compile", 1.2, False, "", compiled),
            Bar(
                f"{dtype}: one picture, 50 steps x 5 samples, light: speed of eager PyTorch",
                5.0,
                False,
                "",
                _ratio(time("segment", "torch_eager"), segment),
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

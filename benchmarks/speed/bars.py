"""The promises of the package on its speed, beside what was measured. A bar that is missed is told like the others."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.speed.cases import CPU_STEPS, DTYPES, SAMPLER_STEPS

LIGHT, STANDARD = "lightweight_ddim", "ddim"
SMALL = {"model": "trunk_ddim", "size": 64}
_SHORT = {LIGHT: "light", STANDARD: STANDARD}


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
        met = self.value <= self.limit if self.at_most else self.value >= self.limit
        return "met" if met else "**missed**"


def bars_of(result: Mapping[str, Any]) -> list[Bar]:
    """The bars of a result file's suite, one of `SUITES`."""
    return {"cpu": _cpu_bars, "gpu": _gpu_bars, "small": _small_bars}[result["suite"]](result["rows"])


def _row(rows: Sequence[Mapping[str, Any]], **wanted: Any) -> Mapping[str, Any] | None:
    """The first row with these values."""
    return next((row for row in rows if all(row[name] == wish for name, wish in wanted.items())), None)


def _value(rows, field: str, **wanted: Any) -> float | None:
    row = _row(rows, **wanted)
    return None if row is None else row[field]


def _ratio(above: float | None, below: float | None) -> float | None:
    return None if above is None or below is None else above / below


def _in_turns(rows, side: str, other: str, model: str = LIGHT, **case: Any) -> float | None:
    """The time of one side in times of another's, both of one run; None where they never took turns.

    A side that was added to the file later has with it what the others took beside it (`added` in `__main__`).
    """
    above, below = (_row(rows, side=name, model=model, **case) for name in (side, other))
    if above is None or below is None:
        return None
    if other in above.get("beside", {}):
        return above["median_s"] / above["beside"][other]
    if side in below.get("beside", {}):
        return below["beside"][side] / below["median_s"]
    return None if "beside" in above or "beside" in below else _ratio(above["median_s"], below["median_s"])


_CPU_CASES = {
    "forward, batch 1": {"case": "forward", "size": 256, "batch": 1},
    "forward, batch 8": {"case": "forward", "size": 256, "batch": 8},
    "train step": {"case": "train_step", "size": 64, "batch": 4},
    "segmentation": {"case": "segment", "steps": CPU_STEPS},
}
_LIGHT_LIMITS = {"forward, batch 1": 0.6, "train step": 0.6}


def _cpu_bars(rows) -> list[Bar]:
    bars = []
    for other, told in (("torch_eager", "eager PyTorch"), ("torch_compile", "torch.compile")):
        for model in (LIGHT, STANDARD):
            for name, case in _CPU_CASES.items():
                limit = _LIGHT_LIMITS.get(name, 1.0) if (model, other) == (LIGHT, "torch_eager") else 1.0
                ratio = _in_turns(rows, "ours", other, model, **case)
                bars.append(Bar(f"{_SHORT[model]} {name}: time of {told}", limit, True, "", ratio))
    light, standard = (
        _row(rows, **_CPU_CASES["forward, batch 1"], model=model, side="ours") or {} for model in (LIGHT, STANDARD)
    )
    shares = (_ratio(light.get(field), standard.get("median_s")) for field in ("median_s", "roofline_s"))
    for told, share in zip(("", " where it reaches the roofline"), shares, strict=True):
        bars.append(Bar(f"light forward, batch 1{told}: time of ddim's", 0.28, True, "", share))
    for case, told, limit in (
        (_CPU_CASES["train step"], "that train step", 15.0),
        ({"case": "segment", "steps": SAMPLER_STEPS}, "the sampler of 50 steps", 20.0),
    ):
        took = _value(rows, "compile_s", **case, model=LIGHT, side="ours")
        bars.append(Bar(f"compiling {told}, light", limit, True, "s", took))
    for model in (LIGHT, STANDARD):
        for name, case in _CPU_CASES.items():
            peaks = (_value(rows, "peak_bytes", **case, model=model, side=side) for side in ("ours", "torch_eager"))
            bars.append(Bar(f"{_SHORT[model]} {name}: peak memory of eager PyTorch", 1.0, True, "", _ratio(*peaks)))
    return bars


def _small_bars(rows) -> list[Bar]:
    cases = {
        "training step": ({"case": "train_step", "batch": 16}, 0.8),
        "segmenting an image": ({"case": "segment", "batch": 4}, 0.5),
        "segmenting eight images": ({"case": "segment", "batch": 32}, 0.5),
    }
    bars = []
    for name, (case, limit) in cases.items():
        bars.append((f"{name}: time of eager PyTorch", limit, _in_turns(rows, "ours", "torch_eager", **case, **SMALL)))
        compiled = _in_turns(rows, "ours", "torch_compile", **case, **SMALL)
        bars.append((f"{name}: time of torch.compile", 1.0, compiled))
    train, _ = cases["training step"]
    peaks = [_value(rows, "peak_bytes", **train, **SMALL, side=side) for side in ("ours", "torch_eager")]
    bars.append(("training step: peak memory of eager PyTorch", 1.0, _ratio(*peaks)))
    return [Bar(promise, limit, True, "", value) for promise, limit, value in bars]


def _gpu_bars(rows) -> list[Bar]:
    bars = []
    image = "one image, 50 steps x 5 samples, light"
    for dtype in reversed(DTYPES):
        kinds = {kind: {"case": kind, "dtype": dtype} for kind in ("train_step", "segment")}
        train, segment = kinds.values()
        ours = {
            (kind, model): _value(rows, "median_s", **case, model=model, side="ours")
            for kind, case in kinds.items()
            for model in (LIGHT, STANDARD)
        }
        against = {name: _in_turns(rows, name, "ours", **train) for name in ("torch_eager", "torch_compile")}
        shares = {kind: _ratio(ours[kind, LIGHT], ours[kind, STANDARD]) for kind in kinds}
        bars += [
            Bar(f"{dtype}: light train step, throughput of eager PyTorch", 2.0, False, "", against["torch_eager"]),
            Bar(f"{dtype}: light train step, throughput of torch.compile", 1.2, False, "", against["torch_compile"]),
            Bar(
                f"{dtype}: {image}: speed of eager PyTorch",
                5.0,
                False,
                "",
                _in_turns(rows, "torch_eager", "ours", **segment),
            ),
            Bar(f"{dtype}: {image}", 0.25, True, "s", ours["segment", LIGHT]),
            Bar(f"{dtype}: light train step: time of ddim's", 0.3, True, "", shares["train_step"]),
            Bar(f"{dtype}: one image, light: time of ddim's", 0.3, True, "", shares["segment"]),
        ]
        for batch, told in ((4, "one image"), (256, "64 images")):
            took = _in_turns(rows, "ours", "torch_eager", **segment, **SMALL, batch=batch)
            bars.append(Bar(f"{dtype}: {told}, recommended network: time of eager PyTorch", 0.5, True, "", took))
    loop = [_value(rows, "median_s", case="train_loop", model=LIGHT, side=side) for side in ("ours", "bare_step")]
    bars.append(Bar("whole training loop, data included: time of its bare step", 1.05, True, "", _ratio(*loop)))
    return bars

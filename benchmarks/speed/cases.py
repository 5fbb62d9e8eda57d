"""The cases that are measured: every kind of work, network, number format and size, and the sides it is measured on."""

import dataclasses
from collections.abc import Collection
from typing import Any

KINDS = ("forward", "train_step", "segment", "train_loop")
MODELS = ("lightweight_ddim", "ddim", "trunk_ddim")
SUITES = ("cpu", "gpu", "small")
"""small: the recommended configuration, configs/folder.py, on a CPU; the others: the paper's networks and setting, and
on a GPU images segmented by the recommended one."""
DTYPES = ("float32", "tf32", "bfloat16")
"""tf32 is float32 whose products a GPU may round to TensorFloat-32; float32 is without."""
SIDES = ("torch_eager", "ours", "torch_compile", "xla_plain")
"""The first of a case's sides is the one whose outputs the others must reproduce.

ours: this package as its user gets it. xla_plain: with every convolution left to XLA (`feature_group_count`), for the
network that has groups, on a GPU.
"""
COMPANIONS = ("torch_eager", "ours")
"""The sides against which the bars set others; run again beside a side that is added to a result file later."""
SAMPLER_STEPS, SAMPLES = 50, 5
CASE_FIELDS = ("case", "model", "dtype", "size", "batch", "steps")
TINY = {
    "base_channels": 16,
    "channel_multipliers": (1, 2),
    "blocks_per_level": 1,
    "attention_levels": (),
    "norm_groups": 4,
    "stem_stride": 2,
}
"""The network of a trial, soon compiled: it still has groups, both kinds of resampling, attention and patches."""
TINY_TRUNK = {name: value for name, value in TINY.items() if name != "attention_levels"}
_SMALL = {"preset": "small"}
_GPU_PICTURES = 64
"""Images of one program of the recommended network: as many as `ddim_jax.inference.batches` takes at most by itself."""
CPU_STEPS = 2
"""Steps of the sampler that are timed on a CPU: fifty would take a quarter of an hour for each side."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One measurement, made on each of its sides.

    Attributes:
      kind: "forward", one evaluation of the network; "train_step", noise, forward, backward, Adam and EMA; "segment",
        all samples of one image; "train_loop", `train_step` with augmentation inside the whole training loop.
      model: as for `ddim_jax.models.create_model`.
      dtype: one of `DTYPES`.
      size: height and width of the images.
      batch: images; for "segment" the samples of all its images.
      sides: of `SIDES`, in that order.
      steps: network evaluations of a sampler; None for the other kinds.
      overrides: the preset and fields of the network, as for `create_model`; none for the paper's size.
      pictures: for "segment", those of one call.
      timed: whether it is run; if not, only compilation is measured.
      together: whether the workers of all sides fit into the memory at once. If not, each lives alone, and they come
        round twice.
    """

    kind: str
    model: str
    dtype: str
    size: int
    batch: int
    sides: tuple[str, ...]
    steps: int | None = None
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    pictures: int = 1
    timed: bool = True
    together: bool = True

    @property
    def label(self) -> str:
        what = f"{self.kind} {self.model} {self.dtype} {self.size} x {self.size} batch {self.batch}"
        return what if self.steps is None else f"{what}, {self.steps} steps"

    @property
    def key(self) -> tuple:
        """The values of `CASE_FIELDS`, which tell the rows of one case from those of another in a result file."""
        return self.kind, self.model, self.dtype, self.size, self.batch, self.steps


def suite_cases(suite: str, *, quick: bool = False, tiny: bool = False) -> list[Case]:
    """The cases of a suite, one of `SUITES`.

    Args:
      suite: which.
      quick: leave out the standard network.
      tiny: small networks on 16 x 16 images: every path of the code, no figure of any use.
    """
    cases = {"cpu": _cpu_cases, "gpu": _gpu_cases, "small": _small_cases}[suite]()
    if quick:
        cases = [case for case in cases if case.model != "ddim"]
    return [_shrunk(case) for case in cases] if tiny else cases


def chosen(
    cases: list[Case],
    *,
    kinds: Collection[str] = KINDS,
    models: Collection[str] = MODELS,
    dtypes: Collection[str] = DTYPES,
    sides: Collection[str] = SIDES,
) -> list[Case]:
    """The cases of these kinds, models and formats, on these sides; what is left without a side is left out."""
    kept = [case for case in cases if case.kind in kinds and case.model in models and case.dtype in dtypes]
    kept = [dataclasses.replace(case, sides=tuple(side for side in case.sides if side in sides)) for case in kept]
    return [case for case in kept if case.sides]


def unmeasured(case: Case, measured: Collection[str], cannot: Collection[str] = ()) -> Case | None:
    """The part of a case that is to be run where a result file has rows of it on the sides `measured`.

    None where all of its sides are there, or are among those that `cannot` be measured. Otherwise the case with the
    sides that are missing, and beside them those of `COMPANIONS` that are there, or else one that is: sides are
    compared only where they took turns in one run.
    """
    missing = set(case.sides) - {*measured, *cannot}
    if not missing:
        return None
    there = [side for side in SIDES if side in measured]
    beside = [side for side in COMPANIONS if side in there] or there[:1]
    return dataclasses.replace(case, sides=tuple(side for side in SIDES if side in {*missing, *beside}))


def _cpu_cases() -> list[Case]:
    sides = ("torch_eager", "ours", "torch_compile")
    cases = []
    for model in ("lightweight_ddim", "ddim"):
        cases += [
            Case("forward", model, "float32", 256, 1, sides),
            Case("train_step", model, "float32", 64, 4, sides),
            Case("forward", model, "float32", 256, 8, sides),
            Case("segment", model, "float32", 256, SAMPLES, sides, steps=CPU_STEPS),
            Case("segment", model, "float32", 256, SAMPLES, ("ours",), steps=SAMPLER_STEPS, timed=False),
        ]
    return cases


def _gpu_cases() -> list[Case]:
    """In order of value, since a machine may be lent for less time than the whole takes: the first eight minutes of a
    machine with one H200 end within the cases of bfloat16. `make bench-gpu` has the order of the first ones too."""
    light, standard, recommended = "lightweight_ddim", "ddim", "trunk_ddim"
    eager, ours, compiled, plain = "torch_eager", "ours", "torch_compile", "xla_plain"
    cases = []
    for dtype in reversed(DTYPES):
        # Beside each other in memory, sides can take turns; with 4 bytes a number they may not fit.
        small = dtype == "bfloat16"
        cases += [
            Case("train_step", light, dtype, 256, 20, (eager, ours, compiled), together=small),
            Case("segment", light, dtype, 256, SAMPLES, (eager, ours, compiled), steps=SAMPLER_STEPS),
            *(
                Case("segment", recommended, dtype, 64, 4 * pictures, (eager, ours, compiled), 1, _SMALL, pictures)
                for pictures in (1, _GPU_PICTURES)
            ),
            Case("train_step", standard, dtype, 256, 20, (eager, ours), together=small),
            Case("segment", standard, dtype, 256, SAMPLES, (eager, ours), steps=SAMPLER_STEPS),
            Case("forward", light, dtype, 256, 8, (eager, ours, plain)),
            Case("forward", light, dtype, 256, 1, (eager, ours, plain)),
            Case("forward", standard, dtype, 256, 8, (eager, ours)),
            Case("forward", standard, dtype, 256, 1, (eager, ours)),
        ]
        if small:
            cases.append(Case("train_loop", light, dtype, 256, 20, (ours,), together=False))
    return cases


def _small_cases() -> list[Case]:
    """Batch, size, steps, samples and mirror images are those of the configuration."""
    sides = ("torch_eager", "ours", "torch_compile")

    def case(kind: str, batch: int, **fields: Any) -> Case:
        return Case(kind, "trunk_ddim", "float32", 64, batch, sides, overrides=_SMALL, **fields)

    return [
        case("train_step", 16),
        case("segment", 4, steps=1),
        case("segment", 8 * 4, steps=1, pictures=8),
    ]


def _shrunk(case: Case) -> Case:
    steps = None if case.steps is None else min(case.steps, 3)
    pictures = min(case.pictures, 2)
    batch = pictures * min(case.batch // case.pictures, 2)
    overrides = TINY_TRUNK if case.model == "trunk_ddim" else TINY
    return dataclasses.replace(case, size=16, batch=batch, pictures=pictures, steps=steps, overrides=overrides)

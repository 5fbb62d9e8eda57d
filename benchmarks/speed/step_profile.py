"""Takes the time of a training step apart.

python -m benchmarks.speed.step_profile [--network lightweight_ddim] [--label X]

The step of configs/folder.py (64 x 64, 16 images, float32), or that of another network in the paper's setting as
`python -m benchmarks.speed` measures it, on one thread, so that the times of its operations add up: XLA's own trace
says how long each took, its compiled program what each is for. What no operation accounts for is the overhead of
calls. Each label of a network is a row of docs/results/step_profile.json; runs of the same label replace it.
"""

import argparse
import collections
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.machine import ROOT, describe_host, provenance
from benchmarks.result_file import add_row
from benchmarks.speed.cases import MODELS, chosen, suite_cases
from benchmarks.speed.inputs import RECOMMENDED, recommended_config, setting_of
from ddim_jax import __version__
from ddim_jax.data import Augmentation
from ddim_jax.diffusion import DiffusionProcess
from ddim_jax.labels import Labels
from ddim_jax.models import create_model, create_process
from ddim_jax.ops import cpu_kernels
from ddim_jax.runtime import allocator
from ddim_jax.training.optimiser import configured_optimiser, create_optimiser
from ddim_jax.training.sharding import data_mesh, replicated
from ddim_jax.training.state import create_state
from ddim_jax.training.step import make_train_step
from ddim_jax.training.step_options import StepOptions

OUTPUT = ROOT / "docs" / "results" / "step_profile.json"
RULES = {
    "network": "as for benchmarks.speed",
    "label": "the state of the code that was measured, in words; commit has it in full",
    "step_s": (
        "processor seconds of a step on one thread, the shortest fifth of the steps, tracing off; None where an "
        "earlier form of this command took it by the clock"
    ),
    "parts": "seconds of a step in operations of each kind; of each operation the shortest fifth of its calls",
    "convolutions": "of one kind at one resolution: seconds, multiplications and additions of a step, both summed",
    "overhead_s": (
        "step_s less the sum of all parts: starting operations, reading the arguments; where other programs left so "
        "little of the processor that the parts come to more than step_s, the row has no parts, and None here"
    ),
    "largest": "the ten operations that take longest: seconds, what they are, the kind they are counted under",
    "compile_cpu_s": "processor seconds of tracing, lowering and compiling the step",
}
_KINDS = {
    "ddim_jax_grouped_conv": "forward",
    "ddim_jax_grouped_conv_transposed": "input gradient",
    "ddim_jax_grouped_conv_grad_kernel": "weight gradient",
    "ddim_jax_winograd_conv": "forward",
    "ddim_jax_in_place_conv": "forward",
    "ddim_jax_winograd_conv_grad_kernel": "weight gradient",
}
"""The names of what an operation computes; on the way back "forward" is the gradient of its input."""
_SCOPES = {"draw_examples": "augmentation and noise", "update": "optimiser and average"}
"""Scopes that `ddim_jax.training.step` names, in the words of the table."""
_DEFINED = re.compile(r"^\s*(?:ROOT )?%(\S+) = (\(.*?\)|\S+) ([\w-]+)\((.*?)\)(.*)$")
_SHAPE = re.compile(r"\w+\[([\d,]*)\]")


class Operation(NamedTuple):
    """One operation of a compiled program.

    Attributes:
      kind: of `kind_of`, as the table has it.
      about: the name that it was traced under.
      side, flops: of a convolution, the height of its images and its multiplications and additions; else None, 0.
    """

    kind: str
    about: str
    side: int | None = None
    flops: int = 0


def operations(program: str) -> dict[str, Operation]:
    """Operation of each name that the main computation of a compiled program (its HLO text) runs."""
    found, shapes, inside, traced, main = {}, {}, collections.defaultdict(set), "", False
    for line in program.splitlines():
        if line and not line.startswith(" ") and line.rstrip().endswith("{"):
            traced, main = line.split()[0].lstrip("%"), line.startswith("ENTRY")
        match = _DEFINED.match(line)
        if not match:
            continue
        name, result, operation, operands, more = match.groups()
        shapes[name] = _shape(result)
        about = re.search(r'op_name="([^"]*)"', more)
        about = about[1] if about else ""
        inside[traced].add(about)
        if main and operation not in ("parameter", "constant", "bitcast", "tuple", "get-tuple-element"):
            of_operands = [shapes.get(operand.strip().rpartition("%")[2], ()) for operand in operands.split(", ")]
            called = re.findall(r"(?:calls|body|to_apply)=%([\w.-]+)", more)
            found[name] = _classified(operation, shapes[name], of_operands, about, more, called, inside)
    return found


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(side) for side in _SHAPE.search(text)[1].split(",") if side)


def _classified(operation, result, operands, about, more, called, inside) -> Operation:
    names = {about}.union(*(inside[computation] for computation in called))
    target = re.search(r'custom_call_target="(\w+)"', more)
    target = target[1] if target else ""
    for scope, words in _SCOPES.items():
        if any(f"/{scope}/" in name for name in names):
            return Operation(words, about)
    backward = any("transpose(jvp" in name for name in names)
    if "group_norm" in target or any("_norm" in part for part in about.split("/")):
        return Operation(f"normalisation, {'backward' if backward else 'forward'}", about)
    # XLA's own: only the gradient of the weights has their shape.
    layer = next((part for part in about.split("/") if re.search(r"_conv(_\d+)?$|_upsample$|^conv_out$", part)), None)
    is_product = operation in ("convolution", "dot") or re.search(r"conv_general_dilated|dot_general", about)
    if target in _KINDS or (layer and is_product):
        kind = _KINDS.get(target)
        kind = "input gradient" if kind == "forward" and backward else kind
        kernels = [shape for shape in (result, *operands) if len(shape) == 4 and shape[0] == shape[1] <= 3]
        kind = kind or (("weight gradient" if result in kernels else "input gradient") if backward else "forward")
        if kernels and kernels[0][0] > 1:
            pictures = [shape for shape in (result, *operands) if len(shape) == 4 and shape not in kernels]
            rows, columns, group_in, out = kernels[0]
            # In all three, each pixel of the convolution's result meets each weight once.
            flops = int(2 * np.prod(pictures[-1][:3]) * rows * columns * group_in * out)
            return Operation(f"{rows} x {columns} convolutions, {kind}", about, pictures[-1][1], flops)
        return Operation("1 x 1 convolutions", about)
    return Operation("copies, joins, pooling, biases and loss", about)


def measure(steps: int, network: str, label: str) -> dict[str, Any]:
    """The row of the result file."""
    step, state, batch = _step_of(network)
    began = [time.process_time()]
    traced = step.trace(state, batch)
    began.append(time.process_time())
    lowered = traced.lower()
    began.append(time.process_time())
    program = lowered.compile()
    began.append(time.process_time())
    state, metrics = program(state, batch)
    seconds = []
    for _ in range(steps):
        start = time.process_time()  # other programs' share of the processor is not in it
        state, metrics = program(state, batch)
        jax.block_until_ready(metrics)
        seconds.append(time.process_time() - start)
    with tempfile.TemporaryDirectory() as place:
        with jax.profiler.trace(place):
            for _ in range(steps):
                state, metrics = program(state, batch)
                jax.block_until_ready(metrics)
        (path,) = Path(place).rglob("*.xplane.pb")
        events = _durations(jax.profiler.ProfileData.from_file(str(path)))
    known = operations(program.as_text())
    took = {name: _short(events[name]) * len(events[name]) / steps for name in known if name in events}
    step_s = _short(seconds)
    parts, convolutions = collections.Counter(), {}
    for name, one in took.items():
        kind, _, side, flops = known[name]
        parts[kind] += one
        if flops:
            entry = convolutions.setdefault((kind, side), {"seconds": 0.0, "flops": 0})
            entry["seconds"] += one
            entry["flops"] += flops
    overhead = step_s - sum(took.values())
    if overhead < 0.0:  # the step is counted in processor time, its operations by the clock
        print("the processor was too busy to take the step apart; its whole and compiling stand", file=sys.stderr)
        parts, convolutions, took = collections.Counter(), {}, {}
    largest = sorted(took, key=took.get, reverse=True)[:10]
    return {
        "network": network,
        "label": label,
        "step_s": _rounded(step_s),
        "overhead_s": None if overhead < 0.0 else _rounded(overhead),
        "parts": {kind: _rounded(one) for kind, one in parts.most_common()},
        "convolutions": [
            {"kind": kind, "side": side, **entry, "seconds": _rounded(entry["seconds"])}
            for (kind, side), entry in sorted(convolutions.items(), key=lambda pair: (pair[0][0], -pair[0][1]))
        ],
        "largest": [
            {"seconds": _rounded(took[name]), "about": known[name].about, "kind": known[name].kind} for name in largest
        ],
        "compile_cpu_s": {
            name: _rounded(after - before)
            for name, before, after in zip(("trace", "lower", "compile"), began, began[1:], strict=False)
        },
        "steps": steps,
    }


def _step_of(network: str) -> tuple[Any, Any, Any]:
    """The training step of a network with a fresh state and a batch of noise."""
    if network == RECOMMENDED:
        config = recommended_config()
        about, fields = config["model"], config["train"]
        model = create_model(about["name"], preset=about["preset"], **about["overrides"])
        process = create_process(model, config["diffusion"], Labels())
        optimiser = configured_optimiser(fields, fields["steps"])
        decay, augmentation = fields["ema_decay"], Augmentation.from_config(config["data"])
        pictures, size = fields["batch_size"], config["data"]["image_size"]
    else:
        (case,) = chosen(suite_cases("cpu"), kinds={"train_step"}, models={network})
        setting, model = setting_of(network), create_model(network)
        process = DiffusionProcess.create(**setting.diffusion)
        rate = optax.constant_schedule(setting.learning_rate)
        optimiser = create_optimiser(rate, gradient_clip=setting.gradient_clip)
        decay, augmentation = setting.ema_decay, Augmentation()
        pictures, size = case.batch, case.size
    mesh = data_mesh(pictures, jax.devices()[:1])
    options = StepOptions(seed=0, ema_decay=decay, augmentation=augmentation)
    step = make_train_step(model, process, optimiser, mesh, options)
    shape, rng = (pictures, size, size), np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)),
        "mask": jnp.asarray(rng.integers(0, 2, shape, dtype=np.uint8)),
    }
    return step, jax.device_put(create_state(model, optimiser, size, 0), replicated(mesh)), batch


def _durations(profile: jax.profiler.ProfileData) -> dict[str, list[float]]:
    """Seconds of each call of each operation."""
    found = collections.defaultdict(list)
    for plane in profile.planes:
        for line in plane.lines:
            for event in line.events:
                found[event.name].append(event.duration_ns / 1e9)
    return found


def _short(times: Iterable[float]) -> float:
    """The mean of the shortest fifth: what else runs on the machine only ever makes a call longer."""
    times = sorted(times)
    return statistics.fmean(times[: max(1, len(times) // 5)])


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.3g}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=MODELS, default=RECOMMENDED, help=f"default: {RECOMMENDED}")
    parser.add_argument("--label", default="as it is", help="what the row is called")
    parser.add_argument("--steps", type=int, default=60, metavar="N", help="steps that are timed, twice (default: 60)")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE", help="docs/results/step_profile.json")
    given = parser.parse_args(arguments)
    if given.steps < 1:
        parser.error("--steps has to be at least 1")
    # Before JAX starts its threads: it makes one for each processor that it may use.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    allocator.keep_freed_memory()
    row = measure(given.steps, given.network, given.label)
    about = {"device": describe_host(threads=1)["cpu"], "kernels": cpu_kernels.available()}
    row |= about | {"package_version": __version__, **provenance()}
    add_row(given.output, RULES, row, ("network", "label"))
    print(json.dumps(row, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())

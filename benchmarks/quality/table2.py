"""The cost of each system at full size: the paper's Table 2.

python -m benchmarks.quality.table2 [--systems ...] [--size 256] [--dtype float32|bfloat16] [--steps N]

Parameters, size of the weights, and the peak memory and time of one image with the system's own sampling, each system
in a process of its own. Writes docs/results/table2.json after every system; rows that are there, of the same device,
are kept. On a CPU only the first steps of a long sampling are timed, and the row says how many.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from benchmarks.machine import ROOT, device_in_words, provenance
from benchmarks.memory import high_water_bytes, reset_high_water, resident_bytes
from benchmarks.result_file import add_row, identity, read_rows, result_parser
from benchmarks.worker import Worker
from configs import table1_gpu
from configs.table1 import SYSTEMS
from ddim_jax import Segmenter
from ddim_jax.config import resolve_config
from ddim_jax.models import create_model, example_inputs
from ddim_jax.ops import cpu_kernels
from ddim_jax.training.state import parameter_count

OUTPUT = ROOT / "docs" / "results" / "table2.json"
CPU_STEPS = 2
"""Steps that are timed on a CPU, where a thousand would take hours."""
_RUNS, _SECONDS = 5, 30.0
IDENTITY = ("system", "size", "device", "dtype", "timed_steps")
RULES = {
    "weights_bytes": "float32 weights alone, four bytes each",
    "seconds": (
        "one image of that size from the array to the mask, all samples, with timed_steps steps of sampling; median "
        "of the runs after a first one that compiles"
    ),
    "peak_bytes": (
        "CPU: the most that was resident during the runs, less what was resident once the libraries were loaded; GPU: "
        "the most that JAX had allocated since the start of the process"
    ),
    "weights": "untrained: time and memory do not depend on their values",
}


def configuration(system: str, size: int, dtype: str, preset: str | None) -> dict[str, Any]:
    """The config of the system's run in Table 1 at full size, as a checkpoint carries it; a preset is for trials."""
    config = table1_gpu.get_config(system)
    config.data.image_size = size
    config.model.preset = preset
    config.model.overrides.dtype = dtype
    return resolve_config(config)


class OneImage:
    """One system at full size with untrained weights, as a user's `Segmenter`; lives in a worker.

    Args:
      system: one of `configs.table1.SYSTEMS`.
      size: height and width of the image.
      dtype: of the arithmetic, "float32" (on a GPU: TensorFloat-32, JAX's default) or "bfloat16"; None: float32 on a
        CPU, bfloat16 on a GPU.
      steps: steps of sampling that are timed; None: all on a GPU, `CPU_STEPS` on a CPU.
      preset: of the network; None for its full size.
    """

    def __init__(self, system: str, size: int, dtype: str | None, steps: int | None, preset: str | None = None):
        self._device = jax.devices()[0]
        self._libraries = resident_bytes()
        on_cpu = self._device.platform == "cpu"
        config = configuration(system, size, dtype or ("float32" if on_cpu else "bfloat16"), preset)
        model = create_model(config["model"]["name"], preset=preset, **config["model"]["overrides"])
        self._init = lambda: model.init(jax.random.key(0), *example_inputs(model, size))["params"]
        parameters = parameter_count(jax.eval_shape(self._init))
        own = config["sample"]["steps"]
        self._steps = min(own, steps or (CPU_STEPS if on_cpu else own))
        self._about = {
            "system": system,
            "size": size,
            "device": device_in_words(self._device, threads=len(os.sched_getaffinity(0))),
            "dtype": config["model"]["overrides"]["dtype"],
            "parameters": parameters,
            "weights_bytes": 4 * parameters,
            "sampler": config["sample"]["sampler"],
            "samples": config["sample"]["samples"],
            "sampling_steps": own,
            "timed_steps": self._steps,
            "compiled_cpu_kernels": cpu_kernels.available(),
            "jax": jax.__version__,
            **provenance(),
        }
        self._segmenter = lambda params: Segmenter(model, params, config=config, step=0, checkpoint="untrained")
        self._image = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)

    def about(self) -> dict[str, Any]:
        """The fields of the row that need no measurement."""
        return self._about

    def measure(self) -> dict[str, Any]:
        """The row."""
        # Compiled, so that the forward pass, of which only the shapes matter, is dropped.
        segmenter = self._segmenter(jax.jit(self._init)())
        first = self._once(segmenter)
        if self._device.platform == "cpu":
            reset_high_water()
        times = [self._once(segmenter)]
        while len(times) < _RUNS and sum(times) + times[-1] < _SECONDS:
            times.append(self._once(segmenter))
        if self._device.platform == "cpu":
            peak = high_water_bytes() - self._libraries
        else:
            peak = self._device.memory_stats()["peak_bytes_in_use"]
        seconds = {"seconds": statistics.median(times), "spread_s": max(times) - min(times), "runs": len(times)}
        return {**self._about, **seconds, "first_with_compilation_s": first, "peak_bytes": peak}

    def _once(self, segmenter: Segmenter) -> float:
        began = time.perf_counter()
        segmenter.segment(self._image, steps=self._steps)
        return time.perf_counter() - began


def make(given: argparse.Namespace) -> int:
    """Measures what is missing in the output; the exit status."""
    for system in given.systems:
        arguments = (system, given.size, given.dtype, given.steps, given.preset)
        with Worker("benchmarks.quality.table2:OneImage", *arguments, cpus=os.sched_getaffinity(0)) as worker:
            wanted = identity(worker.call("about"), IDENTITY)
            if any(identity(row, IDENTITY) == wanted for row in read_rows(given.output)):
                print(f"{system}: in {given.output} already", flush=True)
                continue
            row = worker.call("measure")
        add_row(given.output, RULES, row, IDENTITY)
        print(
            f"{system}: {row['parameters']:,} parameters, {row['seconds']:.2f} s for {row['timed_steps']} of "
            f"{row['sampling_steps']} steps, {row['peak_bytes'] / 2**20:.0f} MiB",
            flush=True,
        )
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = result_parser(__doc__, OUTPUT)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS, help="default: all")
    parser.add_argument("--size", type=int, default=256, metavar="N", help="height and width; default: 256")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="default: float32 on a CPU, else bfloat16")
    parser.add_argument("--steps", type=int, metavar="N", help="steps that are timed; default: 2 on a CPU, else all")
    parser.add_argument("--preset", choices=("small",), help="another size of network, for a trial")
    given = parser.parse_args(arguments)
    if given.preset and given.output == OUTPUT:
        parser.error("--preset is for a trial; say with --output where its figures go")
    if given.steps is not None and given.steps < 1:
        parser.error("--steps has to be at least 1")
    return make(given)


if __name__ == "__main__":
    sys.exit(main())

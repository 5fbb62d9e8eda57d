"""The mean of gradients over two processes with a processor each: gloo's all-reduce, and the exchange used in training.

python -m benchmarks.sums [--calls 100]

Two processes, each tied to a processor that its threads of computation and of the network share, as where a machine has
as many processes as processors. Both ways take turns, on one number and on as many as the gradients of the network of
configs/demo.py. Writes docs/results/sums.json.
"""

import argparse
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import PartitionSpec

from benchmarks.ceilings import describe_host
from benchmarks.free_port import free_port
from benchmarks.table_run import ROOT
from benchmarks.worker import Worker
from configs import demo
from ddim_jax import __version__
from ddim_jax.io.atomic import write_json
from ddim_jax.models import create_model, example_inputs
from ddim_jax.training.distributed import initialise
from ddim_jax.training.sharding import data_mesh, mean_over_devices, place

OUTPUT = ROOT / "docs" / "results" / "sums.json"
RULES = {
    "numbers": "float32 that each of the two processes holds, and of which both get the mean",
    "all_reduce_ms": "milliseconds of jax.lax.pmean, median of all calls on process 0",
    "exchange_ms": "of ddim_jax.training.sharding.mean_over_devices",
}
_TURNS = 4


class Summing:
    """One of the two processes; lives in a worker that is tied to its processor."""

    def __init__(self, address: str, index: int):
        initialise(address, 2, index)
        self._mesh = data_mesh(2)

    def milliseconds(self, numbers: int, calls: int) -> dict[str, float]:
        """The median of each way."""
        ways: dict[str, Callable] = {
            "all_reduce_ms": lambda values: jax.lax.pmean(values, "data"),
            "exchange_ms": lambda values: mean_over_devices(self._mesh, values),
        }
        everywhere = PartitionSpec()
        compiled = {
            name: jax.jit(
                jax.shard_map(way, mesh=self._mesh, in_specs=everywhere, out_specs=everywhere, check_vma=False)
            )
            for name, way in ways.items()
        }
        values = place(self._mesh, np.ones(numbers, np.float32))
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(_TURNS + 1):
            for name, mean in compiled.items():
                for _ in range(calls // _TURNS):
                    began = time.perf_counter()
                    jax.block_until_ready(mean(values))
                    if turn:  # the first compiles
                        seconds[name].append(time.perf_counter() - began)
        return {name: round(1000 * statistics.median(taken), 3) for name, taken in seconds.items()}


def gradients() -> int:
    """How many numbers the gradients of the network of configs/demo.py are."""
    config = demo.get_config()
    model = create_model(config.model.name, preset=config.model.preset, **config.model.overrides)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *example_inputs(model, config.data.image_size))["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def measure(cpus: Sequence[int], numbers: int, calls: int) -> dict[str, Any]:
    """The row of `numbers` float32, each process on its own of two `cpus`."""
    address = f"127.0.0.1:{free_port()}"
    found: list[dict[str, float]] = [{}, {}]
    workers = [
        Worker("benchmarks.sums:Summing", address, index, cpus=[cpus[index]], environment={"JAX_PLATFORMS": "cpu"})
        for index in range(2)
    ]
    with workers[0], workers[1]:

        def one(index: int) -> None:
            found[index] = workers[index].call("milliseconds", numbers, calls)

        threads = [threading.Thread(target=one, args=(index,)) for index in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if not all(found):
        raise RuntimeError("a process ended before it had measured")
    return {"numbers": numbers, **found[0]}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100, metavar="N", help=f"at least {_TURNS} (default: 100)")
    parser.add_argument("--output", default=str(OUTPUT), metavar="FILE", help="default: docs/results/sums.json")
    given = parser.parse_args(arguments)
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        parser.error("two processors are needed; this process may use one")
    if given.calls < _TURNS:
        parser.error(f"--calls has to be at least {_TURNS}")
    rows = [measure(cpus, numbers, given.calls) for numbers in (1, gradients())]
    about = {"device": describe_host(threads=1)["cpu"], "calls": given.calls, "package_version": __version__}
    write_json(given.output, {"rules": RULES, **about, "rows": rows})
    for row in rows:
        print(f"{row['numbers']} numbers: {row['all_reduce_ms']} ms all-reduce, {row['exchange_ms']} ms exchange")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The time of exported programs beside JAX with its kernels: python -m benchmarks.speed.exported [--repeats 20]

In minutes: --only lung_xray, or --only lightweight_ddim --formats onnx --repeats 3.

Each case is a network with its sampling, from a normalised image to probability, uncertainty and mask, one image
in a call: by `Segmenter`, which draws its noise within that time, and by the exported file in its own runtime. They
take turns, each time in another order; all use the threads that they choose by themselves. Writes
docs/results/exported.json.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks.children import end_on_sigterm
from benchmarks.machine import ROOT, describe_host, provenance
from benchmarks.result_file import merged, read_rows, write_rows
from benchmarks.speed.startup import save_untrained
from ddim_jax import Segmenter, __version__
from ddim_jax.data.datasets.phantom import draw_phantom
from ddim_jax.export import FORMATS, export_checkpoint
from ddim_jax.export.file import inputs_of
from ddim_jax.export.program import create_program
from ddim_jax.inference.loading import LoadedNetwork, load_network
from ddim_jax.inference.segmentation import fuse
from ddim_jax.ops import cpu_kernels
from ddim_jax.runtime import allocator

IDENTITY = ("network", "size", "by")
"""Fields that tell one row from another."""
NETWORKS = ("lung_xray", "lightweight_ddim")
OUTPUT = ROOT / "docs" / "results" / "exported.json"
RULES = {
    "median_s": "seconds of an image, median of `repeats` turns; compilation and loading apart",
    "times": "median_s by that of JAX",
    "probability": "largest difference of a probability from JAX on the phantoms of the check; no mask pixel differs",
    "kernels": "JAX had its compiled CPU kernels",
}


def measure(
    name: str, network: LoadedNetwork, kinds: Sequence[str], repeats: int, **given: Any
) -> list[dict[str, Any]]:
    """The rows of one network: JAX first, then each format."""
    segmenter = Segmenter(**network._asdict())
    options = segmenter.options(**{"size": "model"} | given)
    size, picture = segmenter.image_size, draw_phantom("test", 0, 0, segmenter.image_size)[0]
    program = create_program(network, options)
    prepared = segmenter.prepare(picture, options)
    inputs = {key: value[None] for key, value in inputs_of(segmenter, program, options, picture).items()}

    def by_jax() -> None:
        samples = segmenter.fetch(segmenter.start(prepared, options))
        fuse(samples, samples.shape[1:3], options, segmenter.labels)

    calls: dict[str, Callable[[], Any]] = {"jax": by_jax}
    about: dict[str, dict[str, Any]] = {"jax": {}}
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            path = Path(folder, f"{kind}{FORMATS[kind].suffix}")
            done = export_checkpoint(network, options, kind, path, pictures=[picture])
            run = FORMATS[kind].run(path)
            calls[kind] = lambda run=run: run(inputs)
            about[kind] = {"bytes": done.bytes, "probability": float(f"{done.differences['probability']:.2g}")}
        seconds: dict[str, list[float]] = {kind: [] for kind in calls}
        for call in calls.values():
            call()
        for repeat in range(repeats):
            order = list(calls)[repeat % len(calls) :] + list(calls)[: repeat % len(calls)]
            for kind in order:
                start = time.perf_counter()
                calls[kind]()
                seconds[kind].append(time.perf_counter() - start)
    median = {kind: statistics.median(found) for kind, found in seconds.items()}
    case = {"network": name, "size": size, "steps": options.steps, "samples": options.samples}
    return [
        {**case, "by": kind, "median_s": float(f"{median[kind]:.4g}"), "times": round(median[kind] / median["jax"], 3),
         "repeats": repeats, "kernels": cpu_kernels.available(), **about[kind]}
        for kind in calls
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20, metavar="N", help="turns (default: 20)")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help="default: all")
    parser.add_argument("--only", choices=NETWORKS, help="one network; the rows of the others stay as they are")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE", help="docs/results/exported.json")
    given = parser.parse_args(arguments)
    if given.repeats < 1:
        parser.error("--repeats has to be at least 1")
    if jax.default_backend() != "cpu":
        parser.error("the files run on the CPU, so JAX has to as well: JAX_PLATFORMS=cpu")
    allocator.keep_freed_memory()
    about = {"device": describe_host(threads=os.cpu_count())["cpu"], "threads": os.cpu_count()}
    about |= {"package_version": __version__, **provenance()}

    def add(rows: list[dict[str, Any]]) -> None:  # at once: a run that is stopped leaves what it has
        rows = [row | about for row in rows]  # those that stay in the file may be of another machine and version
        write_rows(given.output, RULES, merged(read_rows(given.output), rows, IDENTITY))
        for row in rows:
            took = f"{1e3 * row['median_s']:.4g} ms, {row['times']} times JAX"
            print(f"{row['network']} {row['size']} {row['by']}: {took}", flush=True)

    if given.only in (None, "lung_xray"):
        add(measure("lung_xray", load_network("lung_xray", "best", None), given.formats, given.repeats))
    if given.only in (None, "lightweight_ddim"):
        with tempfile.TemporaryDirectory() as folder:
            save_untrained(Path(folder), "full", 256)
            network = load_network(folder, "latest", None)
            one = {"steps": 1, "samples": 1, "protocol": "mean"}
            add(measure("lightweight_ddim", network, given.formats, given.repeats, **one))
    return 0


if __name__ == "__main__":
    end_on_sigterm()
    sys.exit(main())

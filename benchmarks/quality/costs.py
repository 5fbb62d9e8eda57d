"""The times of a training step and of an image of a config's network beside another's.

python -m benchmarks.quality.costs [--systems NAME...] [--inputs SIZE/STEM...]
python -m benchmarks.quality.costs --systems trunk_ddim lightweight_ddim --inputs 64/2 --evaluations 250

times the networks of configs/folder.py in turns with the small U-Net, and that with itself, and writes rows of
docs/results/costs.json; `python -m benchmarks.render` puts the table into the pages. 250 evaluations, 50 steps of 5
samples, are set against one pass of the U-Net. A machine with nothing else to do takes some ten minutes for the first.
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import ROOT, measured_on, network_of
from benchmarks.result_file import add_row, read_rows, result_parser
from benchmarks.tables import INPUT, input_of, measured_at, table
from configs import folder
from ddim_jax.config import resolve_config
from ddim_jax.inference.segmentation import sample_image
from ddim_jax.labels import Labels
from ddim_jax.models import Network, create_process
from ddim_jax.runtime import allocator
from ddim_jax.sampling_options import SamplingOptions
from ddim_jax.training.optimiser import configured_optimiser, create_optimiser
from ddim_jax.training.sharding import data_mesh, global_batch
from ddim_jax.training.state import create_state
from ddim_jax.training.step import make_train_step
from ddim_jax.training.step_options import StepOptions

_CALLS = 5
OUTPUT = ROOT / "docs" / "results" / "costs.json"
RULES = {
    "train_step": "median time of a training step by that of the small U-Net in the same turns, compiled before",
    "train_step_by_unet_64": "the same by that of the small U-Net at 64 x 64 with a stem of 2",
    "stem": "side of the patches of pixels that the network folds into channels first",
    "image": "of an image with its samples, on the device, by that of the U-Net; of 250 evaluations by one pass of it",
    "evaluations": "of the network for an image: 4, one step of 4 mirrored samples, or 250, 50 steps of 5 samples",
    "repeats": f"turns, of {_CALLS} calls each; who is first alternates",
}
IDENTITY = ("system", "size", "stem", "evaluations")
_REFERENCE = "unet"


def training_step(config: Mapping[str, Any]) -> Callable[[], None] | None:
    """A function that takes one training step of a resolved config on drawn images.

    None where a step takes more than whole labelled images: `data.crop`, `data.unlabelled`.
    """
    if config["data"]["crop"] or config["data"]["unlabelled"]:
        return None
    model, process = _network(config)
    fields, size = config["train"], int(config["data"]["image_size"])
    optimiser = configured_optimiser(fields, fields["warmup_steps"] + 10_000)
    mesh = data_mesh(fields["batch_size"], jax.devices()[:1], accumulate=fields["accumulate"])
    step = make_train_step(model, process, optimiser, mesh, StepOptions.from_config(config))
    draw, shape = np.random.default_rng(0), (fields["batch_size"], size, size)
    batch = global_batch(
        mesh,
        {
            "image": draw.integers(0, 256, (*shape, 3), np.uint8),
            "mask": draw.integers(0, 2, shape, np.uint8),
        },
    )
    state = create_state(model, optimiser, size, 0)

    def once() -> None:
        nonlocal state
        state, metrics = step(state, batch)
        jax.block_until_ready(metrics)

    return once


def evaluation(config: Mapping[str, Any]) -> Callable[[], None] | None:
    """A function that samples one drawn image as a resolved config says; None with `data.crop`, which makes tiles."""
    if config["data"]["crop"]:
        return None
    model, process = _network(config)
    size, options = int(config["data"]["image_size"]), SamplingOptions.create(config)
    params = create_state(model, create_optimiser(lambda _: 0.0), size, 0).params
    image = jnp.asarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8))

    @jax.jit
    def sample(params: Any, image: jax.Array) -> jax.Array:
        return sample_image(process, Network(model), params, image, jnp.uint32(0), jnp.uint32(0), options=options)

    return lambda: jax.block_until_ready(sample(params, image))


def ratio(mine: Callable[[], None] | None, other: Callable[[], None] | None, repeats: int) -> float | None:
    """Median time of `mine` over that of `other`, `_CALLS` calls of each in turns; compiled before.

    Each is the first of every second turn: what runs first came out a few percent faster. None where one of them is.
    """
    if mine is None or other is None:
        return None
    mine(), other()
    sides: list[tuple[Callable[[], None], list[float]]] = [(mine, []), (other, [])]
    for turn in range(repeats):
        for call, taken in sides if turn % 2 == 0 else reversed(sides):
            began = time.perf_counter()
            for _ in range(_CALLS):
                call()
            taken.append(time.perf_counter() - began)
    of_mine, of_other = (statistics.median(taken) for _, taken in sides)
    return of_mine / of_other


def row_of(system: str, size: int, stem: int, evaluations: int, repeats: int) -> dict[str, Any]:
    """The row of a network, with its ratios to the U-Net."""
    steps: dict[str, float | None] = {"train_step": None, "train_step_by_unet_64": None}
    if evaluations == 4:
        mine, other, small = (
            config_of(*about) for about in ((system, size, stem), (_REFERENCE, size, stem), (_REFERENCE, 64, 2))
        )
        steps = {
            name: ratio(training_step(mine), training_step(by), repeats)
            for name, by in zip(steps, (other, small), strict=True)
        }
    else:
        mine = config_of(system, size, stem, steps=50, samples=5, flips=False)
        other = config_of(_REFERENCE, size, stem, samples=1, flips=False)
    image = ratio(evaluation(mine), evaluation(other), repeats)
    about = {"system": system, "size": size, "stem": stem, "evaluations": evaluations}
    return {**about, **steps, "image": image, "repeats": repeats, **measured_on()}


def costs(root: Path) -> str:
    """The table of docs/results/costs.json."""
    rows = read_rows(root / "docs" / "results" / OUTPUT.name)
    columns = {
        "network": "`{system}`",
        INPUT: input_of,
        "evaluations for an image": "{evaluations}",
        "training step, by the U-Net's": "{train_step:.2f}",
        "by that of the U-Net at 64 / 2": "{train_step_by_unet_64:.2f}",
        "image, by the U-Net's": lambda row: f"{row['image']:.2f}" if row["evaluations"] == 4 else "",
        "image, by one pass of the U-Net": lambda row: "" if row["evaluations"] == 4 else f"{row['image']:.1f}",
    }
    return table(columns, rows) + measured_at(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = result_parser(__doc__, OUTPUT)
    systems = ["trunk_ddim", "lightweight_ddim", _REFERENCE]
    parser.add_argument("--systems", nargs="+", default=systems, metavar="NAME", help=f"default: {' '.join(systems)}")
    inputs = ["64/2", "128/2", "128/4"]
    about_inputs = f"size of the images and stem; default: {' '.join(inputs)}"
    parser.add_argument("--inputs", nargs="+", default=inputs, metavar="SIZE/STEM", help=about_inputs)
    parser.add_argument("--evaluations", type=int, choices=(4, 250), default=4, help="for an image; default: 4")
    parser.add_argument("--repeats", type=int, default=21, metavar="N", help="turns (%(default)s)")
    given = parser.parse_args(arguments)
    allocator.keep_freed_memory()  # as the commands do
    for text in given.inputs:
        size, stem = map(int, text.split("/"))
        for system in given.systems:
            row = row_of(system, size, stem, given.evaluations, given.repeats)
            add_row(given.output, RULES, row, IDENTITY)
            print("{system}, {size}/{stem}: {train_step}, {image:.3f}".format_map(row), flush=True)
    return 0


def config_of(system: str, size: int, stem: int, **sample: Any) -> dict[str, Any]:
    """The resolved config of configs/folder.py with a network, a size, a stem and fields of `sample`."""
    config = folder.get_config()
    config.model.name, config.model.overrides.stem_stride, config.data.image_size = system, stem, size
    config.sample.update(sample)
    return resolve_config(config)


def _network(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """The network of a resolved config, and its process."""
    model = network_of(config)
    return model, create_process(model, config["diffusion"], Labels.from_config(config["data"]))


if __name__ == "__main__":
    sys.exit(main())

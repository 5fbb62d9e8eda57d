"""Scores the network of a run and times it beside a plain U-Net, for docs/results/accuracy.json.

python -m benchmarks.quality.accuracy --runs RUN... --budget SECONDS [--workdir DIR] [--repeats N]

Each RUN is of train.py: a small network on a folder with images and masks, whose name is the data set's; --budget says
what its steps cost on an idle machine. It is calibrated on its validation split; the test split is scored once, at each
picture's own size. Training steps and evaluations of one picture (all its samples) are timed in turns with those of the
small U-Net, compiled before; the ratio is that of the medians. `python -m benchmarks.render` puts the table into the
pages.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import ROOT, device_in_words, provenance
from benchmarks.quality.runs import read_config
from benchmarks.result_file import add_row, read_rows
from benchmarks.tables import Columns, distinct, of_commit, table
from configs import fast
from ddim_jax.config import resolve_config
from ddim_jax.data import Augmentation
from ddim_jax.evaluation import evaluate_checkpoint
from ddim_jax.inference.segmentation import sample_image
from ddim_jax.labels import Labels
from ddim_jax.models import Network, create_model, create_process
from ddim_jax.runtime.errors import report_input_errors
from ddim_jax.sampling_options import SamplingOptions
from ddim_jax.training.optimiser import create_optimiser, learning_rate_schedule
from ddim_jax.training.sharding import data_mesh, global_batch
from ddim_jax.training.state import create_state, parameter_count
from ddim_jax.training.step import make_train_step

OUTPUT = ROOT / "docs" / "results" / "accuracy.json"
IDENTITY = ("dataset", "system", "size", "budget_s", "seed")
RULES = {
    "dice_mean": "test split, protocol mean, at each picture's own size; dice_ci is a 95% bootstrap over the pictures",
    "dice_val": "the same of the validation split",
    "budget_s": "seconds of training on the idle machine of the first measurements, at its time of a step",
    "train_step_ratio_to_unet": "median time of a training step with augmentation and optimiser, timed in turns",
    "evaluation_ratio_to_unet": "the same of one picture with all its samples",
    "evaluations": "of the network for a picture: steps x samples",
    "area_coverage": "share of the test pictures whose true area is in the interval that is made for 90%",
}
_CALLS = 5


def training_step(config: Mapping[str, Any]) -> tuple[Callable[[], None], int]:
    """A function that takes one training step of a resolved config on drawn pictures, and the number of parameters."""
    model, process = _network(config)
    fields, size = config["train"], int(config["data"]["image_size"])
    rate = learning_rate_schedule(fields["lr_schedule"], fields["learning_rate"], fields["warmup_steps"], 10_000)
    optimiser = create_optimiser(rate, gradient_clip=fields["gradient_clip"])
    mesh = data_mesh(fields["batch_size"], jax.devices()[:1])
    step = make_train_step(
        model,
        process,
        optimiser,
        mesh,
        seed=0,
        ema_decay=fields["ema_decay"],
        augmentation=Augmentation.from_config(config["data"]),
    )
    draw, shape = np.random.default_rng(0), (fields["batch_size"], size, size)
    batch = global_batch(
        mesh,
        {
            "image": draw.integers(0, 256, (*shape, 3), np.uint8),
            "mask": draw.integers(0, 2, shape, np.uint8),
        },
    )
    state = create_state(model, optimiser, size, 0)
    parameters = parameter_count(state.params)

    def once() -> None:
        nonlocal state
        state, metrics = step(state, batch)
        jax.block_until_ready(metrics)

    return once, parameters


def evaluation(config: Mapping[str, Any]) -> Callable[[], None]:
    """A function that samples one drawn picture as a resolved config says."""
    model, process = _network(config)
    size, options = int(config["data"]["image_size"]), SamplingOptions.create(config)
    params = create_state(model, create_optimiser(lambda _: 0.0), size, 0).params
    image = jnp.asarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8))

    @jax.jit
    def sample(params: Any, image: jax.Array) -> jax.Array:
        return sample_image(process, Network(model), params, image, jnp.uint32(0), jnp.uint32(0), options=options)

    return lambda: jax.block_until_ready(sample(params, image))


def ratio(mine: Callable[[], None], other: Callable[[], None], repeats: int) -> float:
    """Median time of `mine` over that of `other`, `_CALLS` calls of each in turns; compiled before."""
    mine(), other()
    times = {mine: [], other: []}
    for _ in range(repeats):
        for call, taken in times.items():
            began = time.perf_counter()
            for _ in range(_CALLS):
                call()
            taken.append(time.perf_counter() - began)
    return statistics.median(times[mine]) / statistics.median(times[other])


def costs(config: Mapping[str, Any], repeats: int) -> dict[str, Any]:
    """The parameters of a resolved config's network, and its times beside those of a U-Net."""
    plain = as_unet(config)
    step, parameters = training_step(config)
    return {
        "parameters": parameters,
        "train_step_ratio_to_unet": ratio(step, training_step(plain)[0], repeats),
        "evaluation_ratio_to_unet": ratio(evaluation(config), evaluation(plain), repeats),
    }


def as_unet(config: Mapping[str, Any]) -> dict[str, Any]:
    """The small U-Net as configs/fast.py has it, on the pictures and with the augmentation of a resolved config."""
    plain = fast.get_config()
    plain.model.name = "unet"
    plain.data.update(config["data"])
    plain.train.batch_size, plain.train.steps = config["train"]["batch_size"], 1000
    return resolve_config(plain)


def row_of(run: Path, budget_s: float, repeats: int, workdir: Path) -> dict[str, Any]:
    """Evaluates and times one run; its row.

    Raises:
      InputError: as `ddim_jax.evaluation.evaluate_checkpoint`.
    """
    config = read_config(run)
    output = workdir / run.resolve().name
    val, _ = evaluate_checkpoint(run, "val", output_dir=output / "val", calibrate=0.9)
    test, _ = evaluate_checkpoint(run, "test", output_dir=output / "test")
    dice = test["protocols"]["mean"]["per_image"]["dice"]
    return {
        "dataset": Path(config["data"]["root"]).name,
        "system": config["model"]["name"],
        "augmentation": config["data"]["augmentation"],
        "size": config["data"]["image_size"],
        "budget_s": budget_s,
        "steps": config["train"]["steps"],
        "seed": config["seed"],
        **costs(config, repeats),
        "n": test["images"],
        "dice_mean": dice["mean"],
        "dice_ci": [dice["low"], dice["high"]],
        "dice_val": val["protocols"]["mean"]["per_image"]["dice"]["mean"],
        "evaluations": test["network_evaluations_per_image"],
        "ece": test["calibration"]["ece"],
        "area_coverage": next(iter(test["bounds"]["classes"].values()))["area"]["coverage"],
        "device": device_in_words(jax.devices()[0], threads=len(os.sched_getaffinity(0))),
        **provenance(),
    }


def accuracy(root: Path) -> str:
    """The table of docs/results/accuracy.json."""
    rows = read_rows(root / "docs" / "results" / "accuracy.json")
    code = distinct(of_commit(row) for row in rows)
    return table(_COLUMNS, rows) + (f"\nEvaluated and timed at {'; '.join(code)}.\n" if code else "")


def _network(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """The network of a resolved config, and its process."""
    about, labels = config["model"], Labels.from_config(config["data"])
    model = create_model(about["name"], preset=about["preset"], mask_channels=labels.channels, **about["overrides"])
    return model, create_process(model, config["diffusion"], labels)


_COLUMNS: Columns = {
    "pictures": "{dataset}",
    "network": "`{system}`",
    "augmentation": "{augmentation}",
    "side": "{size}",
    "training": "{budget_s:.0f} s, {steps} steps",
    "seed": "{seed}",
    "parameters": "{parameters:,}",
    "step / U-Net": "{train_step_ratio_to_unet:.2f}",
    "picture / U-Net": "{evaluation_ratio_to_unet:.2f}",
    "Dice": lambda row: "{:.3f} [{:.3f}, {:.3f}]".format(row["dice_mean"], *row["dice_ci"]),
    "validation": "{dice_val:.3f}",
    "ECE": "{ece:.3f}",
    "area interval holds": "{area_coverage:.2f}",
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", required=True, type=Path, metavar="RUN", help="runs of train.py")
    parser.add_argument("--budget", required=True, type=float, metavar="SECONDS", help="what their training is worth")
    parser.add_argument("--repeats", type=int, default=15, metavar="N", help="turns of the timing (%(default)s)")
    parser.add_argument("--workdir", type=Path, default=Path("runs/accuracy"), metavar="DIR", help="%(default)s")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE", help="docs/results/accuracy.json")
    given = parser.parse_args(arguments)
    with report_input_errors("stopped"):
        for run in given.runs:
            row = row_of(run, given.budget, given.repeats, given.workdir)
            add_row(given.output, RULES, row, IDENTITY)
            print(f"{run}: Dice {row['dice_mean']:.3f} of {row['n']} pictures", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Dice against the number of network evaluations, for each prediction target and sampler.

python -m benchmarks.quality.steps --data ROOT... --budget SECONDS --size N [--targets ...] [--limit N]

Trains the light network once for each target under the same budget, as `benchmarks.quality.table1` does and where it
does, so that a run of Table 1 is used again; then scores it with every number of steps and samples. x0 and v are
trained as in configs/fast.py, noise as in the paper.
Writes docs/results/steps.json after every row and draws a figure for each data set beside it; interrupted, the same
command goes on, and where every row is there nothing is trained.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import ROOT, provenance
from benchmarks.quality.figures import draw_curves
from benchmarks.quality.rows import training_seconds, validation_dice
from benchmarks.quality.runs import (
    Run,
    RunFailed,
    check_networks,
    parse_runs,
    read_config,
    read_lines,
    run_parser,
    run_resumable,
    this_machine,
    train_for_budget,
)
from benchmarks.result_file import add_row, read_rows
from ddim_jax import Segmenter, load_dataset
from ddim_jax.evaluation import evaluate
from ddim_jax.runtime import compile_cache
from ddim_jax.runtime.errors import report_input_errors

OUTPUT = ROOT / "docs" / "results" / "steps.json"
TARGETS = {
    "x0": ("lightweight_ddim", ()),
    "v": (
        "lightweight_ddim",
        ("--config.diffusion.prediction=v", "--config.diffusion.loss=mse", "--config.sample.clip_x0=1"),
    ),
    "noise": ("lightweight_ddim_noise", ()),
}
"""For each target a system of Table 1 and what is changed in its config."""
STEPS = (1, 2, 4, 10, 50)
SAMPLES = (1, 4, 5)
SAMPLERS = ("ddim", "dpm++", "ddpm")
IDENTITY = (
    *("dataset", "split", "size", "networks", "device", "budget_s", "seed"),
    *("target", "sampler", "steps", "samples", "limit"),
)
"""Fields that tell one row from another. A new row takes the place of one that has the same values of them."""
_SAME_AS_DDIM = {"ddim": 0, "ddpm": 1, "dpm++": 2}
"""Up to how many steps a sampler takes those of DDIM, which are not measured again."""
RULES = {
    "budget": "of training, as in table1.json; one run for each target; train_s is what its train_steps took",
    "target": (
        "x0, v and noise are as in configs/fast.py but for the prediction (v with mean squared error) and as in the "
        "paper (noise); the fields from prediction to clip_x0 say in what they differ"
    ),
    "picked": "the highest validation Dice of six, with one sample: by one step (x0, v) or by ten (noise)",
    "flips": "if true, samples see the image mirrored in turn: 4 samples are one of each orientation",
    "seconds_per_image": "one image from the array to its samples, median over the images without the first",
    "dice": "protocol mean; dice_ci is a 95% percentile bootstrap over the images",
    "sampler": "dpm++ with 1 or 2 steps and ddpm with 1 take the steps of ddim, and are not measured again",
    "ece": "expected calibration error over all pixels, 15 bins",
}


class Setting(NamedTuple):
    """One point of the curve."""

    sampler: str
    steps: int
    samples: int


class Curve(NamedTuple):
    """All settings of one trained network."""

    target: str
    run: Run
    split: str
    limit: int | None

    def about(self, setting: Setting) -> dict[str, Any]:
        """The fields of a row that are known beforehand."""
        names = ("dataset", "size", "networks", "device", "budget_s", "seed", "settings")
        own = {"split": self.split, "limit": self.limit, "target": self.target}
        about = self.run.about
        return {name: about[name] for name in names} | own | setting._asdict()

    def missing(self, rows: Sequence[Mapping[str, Any]]) -> list[Setting]:
        """The settings that `rows` does not have."""
        fields = {setting: self.about(setting).items() for setting in settings()}
        return [setting for setting, own in fields.items() if not any(own <= row.items() for row in rows)]


def settings() -> Iterator[Setting]:
    """All that are measured, the cheap ones first."""
    for steps in STEPS:
        for samples in SAMPLES:
            for sampler in SAMPLERS:
                if steps > _SAME_AS_DDIM[sampler]:
                    yield Setting(sampler, steps, samples)


def measure(curve: Curve, setting: Setting, segmenter: Segmenter, folder: Path) -> dict[str, Any]:
    """The row of one setting; samples see the image mirrored if the config of the run says so.

    Args:
      curve: what was trained and is scored.
      setting: of the sampling.
      segmenter: the run's.
      folder: of the run.
    """
    config, lines = read_config(folder), read_lines(folder)
    source = load_dataset("folder", curve.split, root=curve.run.data, seed=config["data"]["split_seed"])
    with tempfile.TemporaryDirectory() as results:
        metrics = evaluate(
            segmenter,
            source,
            results,
            split=curve.split,
            resolution="model",
            figures=False,
            limit=curve.limit,
            **setting._asdict(),
        )
    scores = metrics["protocols"]["mean"]["per_image"]
    diffusion = config["diffusion"]
    return {
        **curve.about(setting),
        **provenance(),
        **{name: diffusion[name] for name in ("prediction", "loss", "mask_scale", "timestep_power")},
        "channel_shuffle": config["model"]["overrides"].get("channel_shuffle"),
        "clip_x0": config["sample"]["clip_x0"],
        "evaluations": setting.steps * setting.samples,
        "flips": metrics["flips"],
        "dice_mean": scores["dice"]["mean"],
        "dice_ci": [scores["dice"]["low"], scores["dice"]["high"]],
        "dice_single": scores["dice_single"]["mean"],
        "ece": metrics["calibration"]["ece"],
        "seconds_per_image": metrics["seconds_per_image"]["median_of_the_rest"],
        "n": metrics["images"],
        "n_in_split": metrics["images_in_split"],
        "train_steps": config["train"]["steps"],
        "train_s": round(training_seconds(lines, config["train"]["batch_size"]), 1),
        "picked_step": metrics["step"],
        "validation_dice": validation_dice(lines, metrics["step"]),
    }


def curves(given: argparse.Namespace, overrides: Sequence[str], device: str) -> list[Curve]:
    """All that were asked for."""
    shared = {"networks": given.networks, "size": given.size, "budget_s": given.budget, "seed": given.seed}
    return [
        Curve(
            target,
            Run(system, Path(root), **shared, limit=None, device=device, overrides=(*own, *overrides)),
            given.split,
            given.limit,
        )
        for root in given.data
        for target, (system, own) in TARGETS.items()
        if target in given.targets
    ]


def make(given: argparse.Namespace, overrides: Sequence[str], say: Callable[[str], None]) -> int:
    """Trains and measures what is missing in the output, and draws it; the exit status."""
    output, workdir = given.output, given.workdir
    machine = this_machine()
    check_networks(given, machine)
    rows = read_rows(output)
    todo = [curve for curve in curves(given, overrides, machine["device"]) if curve.missing(rows)]
    trained, failed = [], 0
    # All trainings first: they are programs of their own, and once this one has measured, it holds the device.
    for curve in todo:
        name = f"{curve.run.dataset} {curve.target}"
        try:
            train_for_budget(curve.run, workdir, lambda text, name=name: say(f"{name}: {text}"))
            trained.append(curve)
        except RunFailed as error:
            print(f"error: {name}: {error}", file=sys.stderr, flush=True)
            failed += 1
    compile_cache.keep_compiled_programs()
    for curve in trained:
        folder = curve.run.folder(workdir)
        segmenter = Segmenter.load(folder)
        for setting in curve.missing(rows):
            row = measure(curve, setting, segmenter, folder)
            add_row(output, RULES, row, IDENTITY)
            about = f"{setting.sampler} {setting.steps} x {setting.samples}"
            say(f"{curve.run.dataset} {curve.target}: {about}: Dice {row['dice_mean']:.4f}")
    rows = read_rows(output)
    for path in draw_curves(output.parent, rows):
        say(str(path))
    say(f"{output}: {len(rows)} rows, {failed} trainings failed")
    return 1 if failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = run_parser(__doc__, OUTPUT)
    parser.add_argument("--targets", nargs="+", choices=tuple(TARGETS), default=tuple(TARGETS), help="default: all")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the trainings; default: 0")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="default: test")
    parser.add_argument("--limit", type=int, metavar="N", help="N images, evenly over the split; default: all")
    given, overrides = parse_runs(parser, arguments)
    if given.limit is not None and given.limit < 1:
        parser.error("--limit has to be at least 1")
    with report_input_errors():
        return make(given, overrides, lambda text: print(text, flush=True))


if __name__ == "__main__":
    run_resumable(main)

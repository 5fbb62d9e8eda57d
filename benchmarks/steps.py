"""Dice against the number of network evaluations, for each prediction target and sampler.

python -m benchmarks.steps --data ROOT... --budget SECONDS --size N [--networks small|full] [--limit N]

Trains the light network once for each target (x0, v, noise) under the same budget, as `benchmarks.table1` does and
where it does, so that a run of Table 1 is used again; then scores it with every number of steps and samples. Writes
docs/results/steps.json after every row and draws steps_<data set>_<size>.png beside it; interrupted, the same command
goes on.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.steps_figure import draw_curves
from benchmarks.table_command import parse_runs, run_parser, run_resumable
from benchmarks.table_rows import merged
from benchmarks.table_run import ROOT, Run, RunFailed, this_device, train_for_budget
from ddim_jax import Segmenter, load_dataset
from ddim_jax.evaluation import evaluate
from ddim_jax.io.atomic import write_json
from ddim_jax.io.errors import report_input_errors

OUTPUT = ROOT / "docs" / "results" / "steps.json"
TARGETS = {
    "x0": ("lightweight_ddim", ()),
    "v": ("lightweight_ddim", ("--config.diffusion.prediction=v", "--config.diffusion.loss=mse")),
    "noise": ("lightweight_ddim_noise", ()),
}
"""For each prediction target a system of Table 1 and what is changed in its config."""
STEPS = (1, 2, 4, 10, 50)
SAMPLES = (1, 4, 5)
SAMPLERS = ("ddim", "dpm++", "ddpm")
IDENTITY = (
    *("dataset", "split", "size", "networks", "device", "budget_s", "seed"),
    *("prediction", "sampler", "steps", "samples", "limit"),
)
"""What tells one row from another. A new row takes the place of one that differs in nothing of this."""
_SAME_AS_DDIM = {"ddim": 0, "ddpm": 1, "dpm++": 2}
"""Up to how many steps a sampler takes those of DDIM, which are not measured again."""
RULES = {
    "budget": "of training, as in table1.json; one run for each prediction target",
    "flips": "if true, samples see the picture mirrored in turn: 4 samples are one of each orientation",
    "seconds_per_image": "one picture from the array to its samples, median over the pictures without the first",
    "dice": "calibrated protocol, mean of the samples; dice_ci is a 95% percentile bootstrap over the pictures",
    "sampler": "dpm++ with 1 or 2 steps and ddpm with 1 take the steps of ddim, and are not measured again",
    "ece": "expected calibration error over all pixels, 15 bins",
}


class Setting(NamedTuple):
    """One point of the curve."""

    sampler: str
    steps: int
    samples: int


def settings() -> Iterator[Setting]:
    """All that are measured, the cheap ones first."""
    for steps in STEPS:
        for samples in SAMPLES:
            for sampler in SAMPLERS:
                if steps > _SAME_AS_DDIM[sampler]:
                    yield Setting(sampler, steps, samples)


def measure(
    run: Run, prediction: str, setting: Setting, segmenter: Segmenter, split: str, limit: int | None
) -> dict[str, Any]:
    """The row of one setting; samples see the picture mirrored if the config of the run says so."""
    source = load_dataset("folder", split, root=run.data, seed=segmenter.config["data"]["split_seed"])
    with tempfile.TemporaryDirectory() as folder:
        metrics = evaluate(segmenter, source, folder, split=split, figures=False, limit=limit, **setting._asdict())
    scores = metrics["protocols"]["calibrated"]["per_image"]
    return {
        **_about(run, prediction, setting, split, limit),
        "evaluations": setting.steps * setting.samples,
        "flips": metrics["flips"],
        "dice_mean": scores["dice"]["mean"],
        "dice_ci": [scores["dice"]["low"], scores["dice"]["high"]],
        "dice_single": scores["dice_single"]["mean"],
        "ece": metrics["calibration"]["ece"],
        "seconds_per_image": metrics["seconds_per_image"]["median_of_the_rest"],
        "n": metrics["images"],
        "n_in_split": metrics["images_in_split"],
        "picked_step": metrics["step"],
    }


def _about(run: Run, prediction: str, setting: Setting, split: str, limit: int | None) -> dict[str, Any]:
    """The fields of a row that are known beforehand."""
    about = {
        name: run.about[name] for name in ("dataset", "size", "networks", "device", "budget_s", "seed", "settings")
    }
    return {**about, "split": split, "limit": limit, "prediction": prediction, **setting._asdict()}


def make(given: argparse.Namespace, overrides: Sequence[str], say: Callable[[str], None]) -> int:
    """Trains and measures what is missing in the output, and draws it; the exit status."""
    output, workdir = Path(given.output), Path(given.workdir)
    rows = json.loads(output.read_text(encoding="utf-8"))["rows"] if output.exists() else []
    device, failed = this_device(), 0
    for root in given.data:
        for prediction in given.targets:
            system, own = TARGETS[prediction]
            run = Run(
                system=system,
                data=Path(root),
                networks=given.networks,
                size=given.size,
                budget_s=given.budget,
                seed=given.seed,
                limit=None,
                device=device,
                overrides=(*own, *overrides),
            )
            name = f"{run.dataset} {prediction}"
            try:
                train_for_budget(run, workdir, lambda text, name=name: say(f"{name}: {text}"))
            except RunFailed as error:
                print(f"error: {name}: {error}", file=sys.stderr, flush=True)
                failed += 1
                continue
            segmenter = Segmenter.load(run.folder(workdir))
            for setting in settings():
                about = _about(run, prediction, setting, given.split, given.limit)
                if any(about.items() <= row.items() for row in rows):
                    continue
                row = measure(run, prediction, setting, segmenter, given.split, given.limit)
                rows = merged(rows, [row], IDENTITY)
                write_json(output, {"rules": RULES, "rows": rows})
                say(f"{name}: {setting.sampler} {setting.steps} x {setting.samples}: Dice {row['dice_mean']:.4f}")
    for path in draw_curves(output.parent, rows):
        say(str(path))
    say(f"{output}: {len(rows)} rows, {failed} trainings failed")
    return 1 if failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = run_parser(__doc__)
    parser.add_argument("--targets", nargs="+", choices=tuple(TARGETS), default=tuple(TARGETS), help="default: all")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the trainings; default: 0")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="default: test")
    parser.add_argument("--limit", type=int, metavar="N", help="N pictures, evenly over the split; default: all")
    parser.add_argument("--output", default=str(OUTPUT), metavar="FILE", help="default: docs/results/steps.json")
    given, overrides = parse_runs(parser, arguments)
    if given.limit is not None and given.limit < 1:
        parser.error("--limit has to be at least 1")
    with report_input_errors():
        return make(given, overrides, lambda text: print(text, flush=True))


if __name__ == "__main__":
    run_resumable(main)

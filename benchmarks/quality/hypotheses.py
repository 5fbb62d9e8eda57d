"""Trains networks on pictures of known ambiguity and counts which of the true masks their samples are.

python -m benchmarks.quality.hypotheses [--workdir DIR] [--systems NAME...] [--output FILE]

Every picture of the data set `ambiguous` has four true masks with known probabilities. Each network is trained as
configs/ambiguous.py says and draws 16 masks of every test picture. Writes docs/results/hypotheses.json;
`python -m benchmarks.render` puts the table into the pages. A run that is there already is not trained again.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.machine import ROOT, device_in_words, provenance
from benchmarks.result_file import merged, read_rows, write_rows
from benchmarks.tables import Columns, Row, distinct, of_commit, table
from configs import ambiguous
from ddim_jax.aggregation import sample_probabilities
from ddim_jax.data import load_dataset
from ddim_jax.data.datasets.ambiguous import MODES, AmbiguousSource
from ddim_jax.inference import Segmenter
from ddim_jax.metrics import measure_hypotheses, overlaps
from ddim_jax.runtime.errors import report_input_errors
from ddim_jax.training import train

OUTPUT = ROOT / "docs" / "results" / "hypotheses.json"
SAMPLES = 16
SYSTEMS = {"lightweight_ddim": 1200, "stochastic_unet": 1200, "unet": 600}
"""Training steps of each network; at most two minutes on two cores."""
TRUTH, LEVELS = "truth", "unet, level sets"
RULES = {
    "modes": f"share of the samples that are nearest (IoU) to each of the true masks; {TRUTH} has their probabilities",
    "mode_error": "the largest difference of a share from its probability",
    "nearest_iou": "mean IoU of a sample with the true mask that it is nearest to",
    "scores": f"of {SAMPLES} masks of each test picture against its annotators, the mean over the pictures",
    LEVELS: f"the U-Net's probability cut at (k + 1/2)/{SAMPLES}, k = 0 .. {SAMPLES - 1}",
    TRUTH: f"{SAMPLES} masks drawn from the true distribution: the floor of what a sampler can reach",
    "train_seconds": "wall time of the training, with compilation, checkpoints and one validation; train_cpu_seconds: "
    "processor time of all threads, which other programs on the machine change less",
    "sample_seconds": f"per picture of {SAMPLES} samples, without compilation",
}


def config_of(system: str, steps: int, seed: int) -> Any:
    """The config of a network."""
    config = ambiguous.get_config()
    config.model.name, config.seed = system, seed
    config.train.steps = config.train.checkpoint_every = steps
    return config


def masks_of(segmenter: Segmenter, image: np.ndarray) -> np.ndarray:
    """One mask for each sample, uint8 [16, H, W]."""
    return (sample_probabilities(segmenter.sample(image, samples=SAMPLES)) > 0.5).astype(np.uint8)


def level_sets(segmenter: Segmenter, image: np.ndarray) -> np.ndarray:
    """The probability of a network without samples, cut at 16 levels: uint8 [16, H, W]."""
    probability = sample_probabilities(segmenter.sample(image, samples=1))[0]
    levels = (np.arange(SAMPLES) + 0.5) / SAMPLES
    return (probability > levels[:, None, None]).astype(np.uint8)


def drawn_truths(source: AmbiguousSource, row: int) -> np.ndarray:
    """16 masks drawn as the annotators draw theirs, uint8 [16, H, W]."""
    rng = np.random.default_rng([1, row])
    return source.modes(row)[rng.choice(len(MODES), SAMPLES, p=list(MODES.values()))]


def figures_of(source: AmbiguousSource, masks: Sequence[np.ndarray]) -> dict[str, Any]:
    """The figures of a row from the masks of every picture."""
    counts, nearest, scores = np.zeros(len(MODES)), [], []
    for row, own in enumerate(masks):
        iou, _ = overlaps(own, source.modes(row))
        counts += np.bincount(iou.argmax(axis=1), minlength=len(MODES))
        nearest.append(iou.max(axis=1).mean())
        scores.append(measure_hypotheses(own, source[row].annotators))
    shares = counts / counts.sum()
    return {
        "n": len(masks),
        "modes": dict(zip(MODES, shares.tolist(), strict=True)),
        "mode_error": float(np.abs(shares - list(MODES.values())).max()),
        "nearest_iou": float(np.mean(nearest)),
        "scores": {name: float(np.mean([one[name] for one in scores])) for name in scores[0]},
    }


def trained(system: str, steps: int, seed: int, workdir: Path) -> tuple[Segmenter, dict[str, Any]]:
    """The network after its training, and how long that took; None seconds where it was there already."""
    folder = workdir / f"{system}_{steps}_{seed}"
    is_new, began, of_cpu = not (folder / "checkpoints").exists(), time.monotonic(), time.process_time()
    train(config_of(system, steps, seed), folder)
    seconds = (time.monotonic() - began, time.process_time() - of_cpu) if is_new else (None, None)
    about = dict(zip(("train_seconds", "train_cpu_seconds"), seconds, strict=True))
    return Segmenter.load(folder, step="latest"), about


def rows_of(system: str, source: AmbiguousSource, workdir: Path, seed: int, steps: int) -> list[dict[str, Any]]:
    """Trains a network and scores it; the rows, of the U-Net with its level sets."""
    segmenter, about = trained(system, steps, seed, workdir)
    options = segmenter.options()
    about |= {"seed": seed, "train_steps": steps, "evaluations": options.steps, "sampler": options.sampler}
    rows = []
    for name, make in ((system, masks_of), (LEVELS, level_sets)):
        if name == LEVELS and system != "unet":
            continue
        make(segmenter, source[0].image)  # compiles
        began = time.monotonic()
        masks = [make(segmenter, source[row].image) for row in range(len(source))]
        seconds = (time.monotonic() - began) / len(source)
        rows.append({"system": name, **about, "sample_seconds": seconds, **figures_of(source, masks)})
    return rows


def hypotheses(root: Path) -> str:
    """The table of docs/results/hypotheses.json."""
    rows = read_rows(root / "docs" / "results" / "hypotheses.json")
    code = distinct(of_commit(row) for row in rows)
    return table(_COLUMNS, rows) + (f"\nMeasured at {'; '.join(code)}.\n" if code else "")


def _seconds(row: Row) -> str:
    return "" if row.get("train_seconds") is None else f"{row['train_seconds']:.0f}"


_COLUMNS: Columns = {
    "masks": "{system}",
    **{mode: lambda row, mode=mode: f"{row['modes'][mode]:.2f}" for mode in MODES},
    "largest error": "{mode_error:.2f}",
    "GED": lambda row: f"{row['scores'][f'ged_{SAMPLES}']:.3f}",
    "matched IoU": lambda row: f"{row['scores'][f'matched_iou_{SAMPLES}']:.3f}",
    "D-max": lambda row: f"{row['scores'][f'd_max_{SAMPLES}']:.3f}",
    f"best of {SAMPLES}": lambda row: f"{row['scores'][f'best_dice_{SAMPLES}']:.3f}",
    "nearest IoU": "{nearest_iou:.3f}",
    "training, s": _seconds,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), metavar="NAME")
    parser.add_argument("--steps", type=int, metavar="N", help="training steps of all (default: those of each)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--workdir", type=Path, default=Path("runs/hypotheses"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE", help="default: docs/results/...")
    given = parser.parse_args(arguments)
    with report_input_errors("stopped"):
        source = load_dataset("ambiguous", "test", image_size=ambiguous.get_config().data.image_size)
        device = device_in_words(jax.devices()[0], len(os.sched_getaffinity(0)))
        machine = provenance() | {"device": device}
        floor = [drawn_truths(source, row) for row in range(len(source))]
        rows = [{"system": TRUTH, **figures_of(source, floor), **machine}]
        for system in given.systems:
            for row in rows_of(system, source, given.workdir, given.seed, given.steps or SYSTEMS[system]):
                rows.append(row | machine)
                print(row, flush=True)
            write_rows(given.output, RULES, merged(read_rows(given.output), rows, ("system",)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

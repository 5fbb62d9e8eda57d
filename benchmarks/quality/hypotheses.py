"""Trains networks on images of known ambiguity and counts which of the true masks their samples are.

python -m benchmarks.quality.hypotheses [--workdir DIR] [--systems NAME...] [--seeds N...] [--output FILE]

Every image of the data set `ambiguous` has four true masks with known probabilities. Each network is trained as
configs/ambiguous.py says and draws 16 masks of every test image. Writes docs/results/hypotheses.json;
`python -m benchmarks.render` puts the table of the test images into the page. A run that is there already is not
trained again. To choose a learning rate: --split val --learning-rate RATE.
"""

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import ROOT, measured_on
from benchmarks.quality.runs import run_resumable
from benchmarks.quality.trainings import train_to_end
from benchmarks.result_file import merged, read_rows, result_parser, write_rows
from benchmarks.tables import Columns, Row, groups_of, measured_at, table
from configs import ambiguous
from ddim_jax.aggregation import sample_probabilities
from ddim_jax.data import load_dataset
from ddim_jax.data.datasets.ambiguous import MODES, AmbiguousSource
from ddim_jax.inference import Segmenter
from ddim_jax.metrics import measure_hypotheses, overlaps
from ddim_jax.runtime.errors import report_input_errors

OUTPUT = ROOT / "docs" / "results" / "hypotheses.json"
IDENTITY = ("system", "seed", "split", "learning_rate", "train_steps")
SAMPLES = 16
SYSTEMS = {"lightweight_ddim": 1200, "stochastic_unet": 1200, "unet": 600}
"""Training steps of each network; at most two minutes on two cores."""
TRUTH, LEVELS = "truth", "unet, level sets"
RULES = {
    "split": "test: reported; val: what a learning rate is chosen on",
    "modes": f"share of the samples that are nearest (IoU) to each of the true masks; {TRUTH} has their probabilities",
    "mode_error": "the largest difference of a share from its probability",
    "nearest_iou": "mean IoU of a sample with the true mask that it is nearest to",
    "scores": f"of {SAMPLES} masks of each image against its annotators, the mean over the images",
    LEVELS: f"the U-Net's probability cut at (k + 1/2)/{SAMPLES}, k = 0 .. {SAMPLES - 1}",
    TRUTH: f"{SAMPLES} masks drawn from the true distribution: the floor of what a sampler can reach",
    "train_seconds": "wall time of the training, with compilation, checkpoints and one validation; train_cpu_seconds: "
    "processor time of all threads, which other programs on the machine change less",
    "sample_seconds": f"per image of {SAMPLES} samples, without compilation",
}


def config_of(system: str, steps: int, seed: int, learning_rate: float | None = None) -> Any:
    """The config of a network; a learning rate of None is its own."""
    config = ambiguous.get_config()
    config.model.name, config.seed, config.train.learning_rate = system, seed, learning_rate
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
    """The figures of a row from the masks of every image."""
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


def trained(config: Any, workdir: Path) -> tuple[Segmenter, dict[str, Any]]:
    """The network after its training, and how long that took; None seconds where it was there already.

    Raises:
      KeyboardInterrupt: as `benchmarks.quality.trainings.train_to_end`.
    """
    rate = config.train.learning_rate
    name = f"{config.model.name}_{config.train.steps}_{config.seed}" + (f"_{rate:g}" if rate else "")
    folder = workdir / name
    is_new, began, of_cpu = not (folder / "checkpoints").exists(), time.monotonic(), time.process_time()
    train_to_end(config, folder)
    seconds = (time.monotonic() - began, time.process_time() - of_cpu) if is_new else (None, None)
    about = dict(zip(("train_seconds", "train_cpu_seconds"), seconds, strict=True))
    return Segmenter.load(folder, step="latest"), about


def rows_of(config: Any, source: AmbiguousSource, workdir: Path) -> list[dict[str, Any]]:
    """Trains a network and scores it; the rows, of the U-Net with its level sets."""
    system = config.model.name
    segmenter, about = trained(config, workdir)
    options = segmenter.options()
    about |= {
        "seed": config.seed,
        "train_steps": config.train.steps,
        "learning_rate": segmenter.config["train"]["learning_rate"],
        "evaluations": options.steps,
        "sampler": options.sampler,
    }
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
    """The table of the test images in docs/results/hypotheses.json: for each training the mean over its seeds."""
    rows = [row for row in read_rows(root / "docs" / "results" / "hypotheses.json") if row["split"] == "test"]
    trainings = groups_of(rows, [name for name in IDENTITY if name != "seed"])
    return table(_COLUMNS, map(_mean, trainings)) + measured_at(rows)


def _mean(rows: Sequence[Row]) -> Row:
    """One row of the means of several seeds, with the lowest and the highest GED."""
    seconds = [row["train_cpu_seconds"] for row in rows if row.get("train_cpu_seconds") is not None]
    ged = [row["scores"][f"ged_{SAMPLES}"] for row in rows]
    return {
        **{name: rows[0][name] for name in ("system", "train_steps", "learning_rate")},
        "seeds": len(rows) if rows[0].get("seed") is not None else None,
        "ged_range": (min(ged), max(ged)),
        "train_cpu_seconds": np.mean(seconds) if seconds else None,
        **{name: np.mean([row[name] for row in rows]) for name in ("mode_error", "nearest_iou")},
        **{group: _means([row[group] for row in rows]) for group in ("modes", "scores")},
    }


def _means(dictionaries: Sequence[Row]) -> dict[str, float]:
    return {key: np.mean([one[key] for one in dictionaries]) for key in dictionaries[0]}


def _ged(row: Row) -> str:
    low, high = row["ged_range"]
    return f"{row['scores'][f'ged_{SAMPLES}']:.3f}" + (f" ({low:.3f} to {high:.3f})" if high > low else "")


_COLUMNS: Columns = {
    "masks": lambda row: "ground truth" if row["system"] == TRUTH else row["system"],
    "seeds": "{seeds:d}",
    **{mode: lambda row, mode=mode: f"{row['modes'][mode]:.2f}" for mode in MODES},
    "largest error": "{mode_error:.2f}",
    "GED": _ged,
    "matched IoU": lambda row: f"{row['scores'][f'matched_iou_{SAMPLES}']:.3f}",
    "D-max": lambda row: f"{row['scores'][f'd_max_{SAMPLES}']:.3f}",
    f"best of {SAMPLES}": lambda row: f"{row['scores'][f'best_dice_{SAMPLES}']:.3f}",
    "nearest IoU": "{nearest_iou:.3f}",
    "steps": "{train_steps:d}",
    "learning rate": "{learning_rate:g}",
    "training, CPU s": "{train_cpu_seconds:.0f}",
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = result_parser(__doc__, OUTPUT, "runs/hypotheses")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), metavar="NAME")
    parser.add_argument("--steps", type=int, metavar="N", help="training steps of all (default: those of each)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="default: 0 1 2")
    parser.add_argument("--learning-rate", type=float, metavar="RATE", help="default: that of each")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="scored (%(default)s)")
    given = parser.parse_args(arguments)
    with report_input_errors():
        source = load_dataset("ambiguous", given.split, image_size=ambiguous.get_config().data.image_size)
        about = {"split": given.split, **measured_on()}
        floor = [drawn_truths(source, row) for row in range(len(source))]
        rows = [dict.fromkeys(IDENTITY) | {"system": TRUTH} | figures_of(source, floor) | about]
        for system, seed in itertools.product(given.systems, given.seeds):
            config = config_of(system, given.steps or SYSTEMS[system], seed, given.learning_rate)
            for row in rows_of(config, source, given.workdir):
                rows.append(row | about)
                print(row, flush=True)
            write_rows(given.output, RULES, merged(read_rows(given.output), rows, IDENTITY))
    return 0


if __name__ == "__main__":
    run_resumable(main)

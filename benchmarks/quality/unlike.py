"""Measures how well images unlike those of the calibration are told from a checkpoint's own.

python -m benchmarks.quality.unlike --ckpt CKPT --own FOLDER [--elsewhere FOLDER] [--others FOLDER...]

CKPT is calibrated; no network runs. FOLDER has images and masks: --own is the one that was trained on, --elsewhere
holds images of the same structures from another source, --others of other structures; of a folder with a splits.csv
its test split counts, else all. Noise, flat greys and the own images inverted, turned by a right angle or with grey
noise are made here. Writes a row for each kind of images into docs/results/unlike.json; `python -m benchmarks.render`
puts the table into the pages.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import ROOT, provenance
from benchmarks.result_file import add_row, read_rows, result_parser
from benchmarks.tables import Columns, measured_at, table
from ddim_jax.data import has_split, load_dataset
from ddim_jax.inference import Segmenter
from ddim_jax.inference.unlikeness import Reference, describe_image, is_unlike
from ddim_jax.runtime.errors import InputError, report_input_errors

OUTPUT = ROOT / "docs" / "results" / "unlike.json"
IDENTITY = ("dataset", "pictures")
RULES = {
    "pictures": "the test split of the folder that was trained on, and what is compared with it",
    "flagged": "of n, those with an unlikeness above 1",
    "median": "of the unlikeness",
    "auroc": "the chance that one of these images is more unlike the calibration than one of the own test split",
}
_MADE = 20
_GREY_NOISE = 0.05, 0.1, 0.2
"""Standard deviations of 255 levels, the same in all channels of a pixel, as a radiograph has it."""


def auroc(own: Sequence[float], others: Sequence[float]) -> float:
    """The share of pairs in which the other is larger, equal ones by half; in [0, 1]."""
    own, others = np.asarray(own)[:, None], np.asarray(others)[None]
    return float(np.mean(others > own) + 0.5 * np.mean(others == own))


def made(own: Sequence[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Images that are made: uint8 [H, W, 3] by their kind."""
    rng = np.random.default_rng(0)
    return {
        "noise": [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(_MADE)],
        "flat": [np.full((64, 64, 3), level, np.uint8) for level in np.linspace(0, 255, _MADE).round()],
        "own, inverted": [255 - image for image in own],
        "own, turned": [np.rot90(image) for image in own],
        **{
            f"own, grey noise of {share:.0%}": [with_grey_noise(image, share, rng) for image in own]
            for share in _GREY_NOISE
        },
    }


def with_grey_noise(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """The image uint8 [H, W, 3] with Gaussian noise of that standard deviation, of 255, alike in all channels."""
    noise = rng.normal(0, 255 * share, image.shape[:2])[..., np.newaxis]
    return (image + noise).round().clip(0, 255).astype(np.uint8)


def rows_of(dataset: str, reference: Reference, pictures: dict[str, Iterable[np.ndarray]]) -> list[dict[str, Any]]:
    """A row for each kind of images; the first is the own test split."""
    found, own = [], []
    for kind, images in pictures.items():
        values = [reference.unlikeness(describe_image(image)) for image in images]
        own = own or values
        flagged = sum(map(is_unlike, values))
        row = {"dataset": dataset, "pictures": kind, "n": len(values), "flagged": flagged}
        row |= {"share": flagged / len(values), "median": float(np.median(values))}
        found.append(row | {"auroc": auroc(own, values) if len(found) else None} | provenance())
    return found


def unlike(root: Path) -> str:
    """The table of docs/results/unlike.json."""
    rows = read_rows(root / "docs" / "results" / "unlike.json")
    return table(_COLUMNS, rows) + measured_at(rows)


_COLUMNS: Columns = {
    "calibrated on": "{dataset}, validation",
    "images": lambda row: row["pictures"].replace("elsewhere", "external"),
    "n": "{n}",
    "flagged": "{share:.0%}",
    "median unlikeness": "{median:.2f}",
    "AUROC": "{auroc:.3f}",
}


def _read(folder: Path) -> list[np.ndarray]:
    split = "test" if has_split(folder) else "all"
    source = load_dataset("folder", split, root=folder, read_only=True)
    return [source[row].image for row in range(len(source))]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = result_parser(__doc__, OUTPUT)
    parser.add_argument("--ckpt", required=True, metavar="CKPT", help="a run, a file of weights or a packaged name")
    parser.add_argument("--own", required=True, type=Path, metavar="FOLDER", help="that was trained on")
    parser.add_argument("--elsewhere", type=Path, metavar="FOLDER", help="of the same structures, another source")
    parser.add_argument("--others", nargs="*", default=[], type=Path, metavar="FOLDER", help="of other structures")
    given = parser.parse_args(arguments)
    with report_input_errors("stopped"):
        reference, why_not = Segmenter.load(given.ckpt).reference()
        if reference is None:
            raise InputError(f"{given.ckpt} judges no image: {why_not}")
        own = _read(given.own)
        pictures = {"own test split": own}
        if given.elsewhere is not None:
            pictures["elsewhere"] = _read(given.elsewhere)
        pictures |= {f"{folder.resolve().name}, test" if has_split(folder) else folder.resolve().name: _read(folder)
                     for folder in given.others}  # fmt: skip
        for row in rows_of(given.own.resolve().name, reference, pictures | made(own)):
            add_row(given.output, RULES, row, IDENTITY)
            print(f"{row['dataset']}, {row['pictures']}: {row['flagged']} of {row['n']} flagged", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

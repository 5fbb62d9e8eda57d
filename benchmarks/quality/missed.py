"""Measures where the missed pixels of paired structures lie, such as the lungs of a chest X-ray.

python -m benchmarks.quality.missed --ckpt CKPT --own FOLDER [--elsewhere FOLDER]

CKPT is a run, a file of packed weights or a packaged name. FOLDER has images and masks: --own is the one that was
trained on, of which the splits val and test count, --elsewhere holds images of another source, which count all. Where
the ground truth of another source holds what that of the training leaves out (for lungs the part behind the heart), the
missed pixels lie between the two structures. Writes a row for each source into docs/results/missed.json;
`python -m benchmarks.render` puts the table into the page.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from benchmarks.machine import ROOT, provenance
from benchmarks.result_file import add_row, read_rows, result_parser
from benchmarks.tables import Columns, images_of, measured_at, table
from ddim_jax.data import load_dataset
from ddim_jax.inference import Segmenter
from ddim_jax.runtime.errors import report_input_errors

OUTPUT = ROOT / "docs" / "results" / "missed.json"
IDENTITY = ("dataset", "source")
PLACES = ("between", "within", "below", "above", "beside")
RULES = {
    "missed": "pixels of the ground truth that the mask lacks, by those of the ground truth; all are means over images",
    "between": "of these, those with two different connected parts of the mask (8 neighbours) next to the left and to "
    "the right in their row, again by the ground truth; within: with the same part on both sides; below, above: none "
    "of these, with the mask above or below in their column; beside: the rest",
    "dice": "protocol mean, at each image's own size",
    "dice_between_found": "of the mask with the pixels counted under between added to it",
}


def places_of(mask: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """The missed pixels, a boolean [H, W] for each of `PLACES`, which do not overlap."""
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    left = _next_to_the_left(parts)
    right = _next_to_the_left(parts[:, ::-1])[:, ::-1]
    inside = (left > 0) & (right > 0)
    over, under = (_next_to_the_left(turned) > 0 for turned in (parts.T, parts[::-1].T))
    found = {
        "between": inside & (left != right),
        "within": inside,
        "below": over.T,
        "above": under.T[::-1],
        "beside": np.ones_like(mask),
    }
    missed = truth & ~mask
    for name in PLACES:
        found[name], missed = found[name] & missed, missed & ~found[name]
    return found


def _next_to_the_left(parts: np.ndarray) -> np.ndarray:
    """In each row the last number above 0 up to each pixel, 0 where there is none."""
    columns = np.where(parts > 0, np.arange(parts.shape[1]), 0)
    return np.take_along_axis(parts, np.maximum.accumulate(columns, axis=1), axis=1)


def row_of(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """The means over pairs of mask and ground truth, boolean [H, W]."""
    rows = []
    for mask, truth in pairs:
        places = places_of(mask, truth)
        row = {name: places[name].sum() / truth.sum() for name in PLACES}
        rows.append(
            {"missed": sum(row.values()), **row}
            | {"dice": _dice(mask, truth), "dice_between_found": _dice(mask | places["between"], truth)}
        )
    return {"n": len(rows)} | {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (mask & truth).sum() / (mask.sum() + truth.sum())


def missed(root: Path) -> str:
    """The table of docs/results/missed.json."""
    rows = read_rows(root / "docs" / "results" / "missed.json")
    return table(_COLUMNS, rows) + measured_at(rows)


_COLUMNS: Columns = {
    "images": images_of,
    "n": "{n}",
    "missed, of the ground truth": "{missed:.1%}",
    **{name: f"{{{name}:.1%}}" for name in PLACES},
    "Dice": "{dice:.3f}",
    "Dice with what lies between": "{dice_between_found:.3f}",
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = result_parser(__doc__, OUTPUT)
    parser.add_argument("--ckpt", required=True, help="a run, a file of weights or a packaged name")
    parser.add_argument("--own", required=True, type=Path, metavar="FOLDER", help="that was trained on")
    parser.add_argument("--elsewhere", type=Path, metavar="FOLDER", help="of the same structures, another source")
    given = parser.parse_args(arguments)
    with report_input_errors("stopped"):
        segmenter = Segmenter.load(given.ckpt)
        sources = {"val": given.own, "test": given.own} | ({"elsewhere": given.elsewhere} if given.elsewhere else {})
        for source, folder in sources.items():
            split = "all" if source == "elsewhere" else source
            pictures = load_dataset("folder", split, root=folder, read_only=True)
            examples = [pictures[index] for index in range(len(pictures))]
            results = segmenter.segment([one.image for one in examples])
            pairs = zip(results, examples, strict=True)
            row = row_of((np.asarray(result.mask) > 0, one.mask > 0) for result, one in pairs)
            about = {"dataset": given.own.resolve().name, "source": source}
            add_row(given.output, RULES, about | row | provenance(), IDENTITY)
            print(f"{source}: {row['missed']:.3f} missed, {row['between']:.3f} between", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

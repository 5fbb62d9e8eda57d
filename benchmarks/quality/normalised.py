"""Writes a copy of a folder of pairs whose images are normalised one by one, to train and score a network on it.

python -m benchmarks.quality.normalised FOLDER OUTPUT --by percentiles|clahe

Masks and splits.csv are copied as they are. percentiles: the 1st and 99th percentile of all values of an image become 0
and 255. clahe: contrast-limited adaptive histogram equalisation (scikit-image; 8 x 8 tiles, clip limit .02) of grey
images, and of the value (HSV) of images in colour. The copies show patients: keep them out of the project. What came of
it: docs/explanation/results.md.
"""

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ddim_jax.data.datasets.folder import find_pairs
from ddim_jax.imageio.images import read_image
from ddim_jax.runtime.errors import InputError, report_input_errors


def by_percentiles(rgb: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] -> the same, stretched between its 1st and 99th percentile; a flat image becomes black."""
    low, high = np.percentile(rgb, (1, 99))
    return np.clip((rgb - low) / max(high - low, 1.0) * 255.0, 0.0, 255.0).round().astype(np.uint8)


def by_clahe(rgb: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] -> the same, its local contrast equalised (Zuiderveld 1994)."""
    from skimage.exposure import equalize_adapthist

    def equalised(plane: np.ndarray) -> np.ndarray:
        return (equalize_adapthist(plane, clip_limit=0.02) * 255).round().astype(np.uint8)

    if (rgb == rgb[..., :1]).all():
        return np.repeat(equalised(rgb[..., 0])[..., None], 3, axis=-1)
    hue, saturation, value = np.moveaxis(np.asarray(Image.fromarray(rgb).convert("HSV")), -1, 0)
    hsv = np.stack([hue, saturation, equalised(value)], axis=-1)
    return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))


METHODS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"percentiles": by_percentiles, "clahe": by_clahe}


def copy_normalised(folder: Path, output: Path, by: str) -> int:
    """Writes the copy and returns the number of its pairs.

    Raises:
      InputError: `output` is there.
      DataError: a file cannot be read, or images and masks do not pair up.
    """
    if output.exists():
        raise InputError(f"{output} is there; expected a folder to be made")
    pairs = find_pairs(folder)
    for pair in pairs:
        image = output / "images" / f"{pair.id}.png"
        mask = output / "masks" / (pair.id + pair.mask.suffix)
        for file in (image, mask):
            file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(METHODS[by](read_image(pair.image))).save(image)
        shutil.copyfile(pair.mask, mask)
    if (folder / "splits.csv").exists():
        shutil.copyfile(folder / "splits.csv", output / "splits.csv")
    return len(pairs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="with images and masks")
    parser.add_argument("output", metavar="OUTPUT", type=Path, help="a folder to be made")
    parser.add_argument("--by", choices=METHODS, required=True, help="how each image is normalised")
    args = parser.parse_args()
    with report_input_errors():
        print(f"{args.output}: {copy_normalised(args.folder, args.output, args.by)} pairs")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Which files are made of which inputs, and what is written into them."""

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ddim_jax.inference.overlay import draw_overlay
from ddim_jax.inference.segmentation import Segmentation
from ddim_jax.io.errors import InputError
from ddim_jax.io.images import list_images, write_map, write_mask, write_rgb

OUTPUTS: dict[str, Callable[[Path, np.ndarray, Segmentation], None]] = {
    "mask": lambda path, image, result: write_mask(path, result.mask),
    "probability": lambda path, image, result: write_map(path, result.probability),
    "uncertainty": lambda path, image, result: write_map(path, result.uncertainty),
    "overlay": lambda path, image, result: write_rgb(path, draw_overlay(image, result.mask)),
}
"""What can be saved: an 8-bit mask (0 and 255), 16-bit maps (value x 65535) and a picture to look at."""


class Job(NamedTuple):
    """One input and where its results go.

    Attributes:
      source: absolute path of the image.
      name: relative path of the results without `_<kind>.png`, with forward slashes.
    """

    source: Path
    name: str

    def output(self, kind: str) -> str:
        """The relative path of one result file."""
        return f"{self.name}_{kind}.png"


def plan_jobs(inputs: str | os.PathLike | Iterable[str | os.PathLike], output_dir: Path) -> list[Job]:
    """Finds the images of files, folders and globs and names their results.

    A result lies in the same folder relative to the output folder as its image lies relative to the folder given (or to
    the part of a glob before the first wildcard), and is named by the image's stem; images of one folder whose stems
    agree (a.png, a.jpg) keep their extension in the name. What lies in the output folder is not an input.

    Returns:
      Jobs in the order of the inputs, each file once.

    Raises:
      DataError: an input does not exist or holds no image.
      InputError: the output folder is the input folder, or two inputs would write the same file; both are named.
    """
    output_dir = _absolute(output_dir)
    found: dict[Path, Path] = {}
    for given in [inputs] if isinstance(inputs, str | os.PathLike) else inputs:
        root = _root(given)
        if root == output_dir and not Path(given).is_file():
            raise InputError(
                f"{output_dir} is both input and output; results would be taken for images. Use another output folder"
            )
        for path in list_images(given):
            path = _absolute(path)
            if root == output_dir or not path.is_relative_to(output_dir):
                found.setdefault(path, path.relative_to(root))
    if not found:
        raise InputError(f"nothing to segment: every image lies in the output folder {output_dir}")

    def by_stem(relative: Path) -> str:
        return relative.with_suffix("").as_posix()

    # Compared without case: on many file systems A_mask.png and a_mask.png are one file.
    stems = Counter(by_stem(relative).casefold() for relative in found.values())
    jobs = [
        Job(source, by_stem(relative) if stems[by_stem(relative).casefold()] == 1 else relative.as_posix())
        for source, relative in found.items()
    ]
    owners: dict[str, Path] = {}
    for job in jobs:
        other = owners.setdefault(job.name.casefold(), job.source)
        if other != job.source:
            raise InputError(f"{other} and {job.source} would both write {job.output('mask')}; segment them separately")
    return jobs


def write_outputs(job: Job, output_dir: Path, image: np.ndarray, result: Segmentation, kinds: Iterable[str]) -> None:
    """Writes the asked-for kinds of results of one image, each file atomically."""
    for kind in kinds:
        OUTPUTS[kind](output_dir / job.output(kind), image, result)


def _root(given: str | os.PathLike) -> Path:
    """The folder that results are placed relative to."""
    path = Path(given)
    if path.is_dir():
        return _absolute(path)
    parts = path.parts
    if not path.exists() and glob.has_magic(os.fspath(given)):
        parts = parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))]
        return _absolute(Path(*parts))
    return _absolute(path).parent


def _absolute(path: str | os.PathLike) -> Path:
    """Absolute and without `..`, so that paths can be compared; symbolic links are left alone."""
    return Path(os.path.abspath(path))

"""Which files are made of which inputs, and what is written into them."""

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ddim_jax.imageio.images import write_map, write_mask, write_rgb
from ddim_jax.imageio.listing import iterate_images
from ddim_jax.inference.digests import digest, find, repeated
from ddim_jax.inference.overlay import draw_overlay
from ddim_jax.inference.paths import PathList
from ddim_jax.inference.segmentation import Segmentation
from ddim_jax.runtime.errors import InputError

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


class Plan:
    """The images to segment, in order, and the names of their results; a `Job` is made each time one is asked for.

    Of each image, its path is held as a `PathList` holds it, and nothing else.

    Attributes:
      inside: the first image that lies in the output folder, which only a file or a glob given there can; else None.
    """

    def __init__(
        self,
        listings: list[tuple[Path, PathList]],
        shared: np.ndarray,
        inside: Path | None,
        known: Callable[[str, Path], bool] = lambda name, source: False,
    ):
        self._listings = listings  # folders that results are placed relative to, and paths relative to them
        self._shared = shared  # digests of the stems, without case, of more than one image
        self.inside = inside
        self._known = known

    def __len__(self) -> int:
        return sum(len(paths) for _, paths in self._listings)

    def __iter__(self) -> Iterator[Job]:
        for root, paths in self._listings:
            for relative in paths:
                yield self._job(root, relative)

    def only(self, wanted: Callable[[Job], bool]) -> "Plan":
        """The images of which `wanted` is true, under the names they have here."""
        listings = []
        for root, paths in self._listings:
            kept = PathList()
            for relative in paths:
                if wanted(self._job(root, relative)):
                    kept.append(relative)
            listings.append((root, kept))
        return Plan(listings, self._shared, self.inside, self._known)

    def keeping(self, known: Callable[[str, Path], bool]) -> "Plan":
        """These images, but one that had its stem for a name before another came beside it (a.jpg to a.png) keeps that.

        Args:
          known: whether results of that name are of that image.

        Raises:
          InputError: as `plan_jobs`.
        """
        plan = Plan(self._listings, self._shared, self.inside, known)
        if len(self._shared):
            _check_names(plan)
        return plan

    def _job(self, root: Path, relative: str) -> Job:
        source, stem = root / relative, _stem(relative)
        shared = len(self._shared) and find(self._shared, stem.casefold()) is not None
        return Job(source, relative if shared and not self._known(stem, source) else stem)


def plan_jobs(inputs: str | os.PathLike | Iterable[str | os.PathLike], output_dir: Path) -> Plan:
    """Finds the images of files, folders and globs and names their results.

    A result lies in the same folder relative to the output folder as its image lies relative to the folder given (or to
    the part of a glob before the first wildcard), and is named by the image's stem; images of one folder whose stems
    agree (a.png, a.jpg) keep their extension in the name. What lies in the output folder is not an input.

    Held for each image are about 10 bytes of its path (`PathList`) and, meanwhile, 16 of a digest, besides the names
    in the folder that is being listed.

    Returns:
      The jobs in the order of the inputs, each file once.

    Raises:
      DataError: an input does not exist or holds no image.
      InputError: the output folder is the input folder, or two inputs would write the same file; both are named.
    """
    output_dir = _absolute(output_dir)
    listings: list[tuple[Path, PathList]] = []
    inside = None
    for given in [inputs] if isinstance(inputs, str | os.PathLike) else inputs:
        root = _root(given)
        if root == output_dir and not Path(given).is_file():
            raise InputError(
                f"{output_dir} is both input and output; results would be taken for images. Use another output folder"
            )
        results, below = os.path.join(output_dir, ""), os.path.join(root, "")
        if not listings or listings[-1][0] != root:
            listings.append((root, PathList()))
        for path in iterate_images(given):
            path = os.path.abspath(path)  # a text, for a `Path` takes longer
            if root == output_dir:
                inside = inside or Path(path)
            elif path.startswith(results):
                continue
            if not path.startswith(below):
                raise InputError(f"{path}, found by {given}, does not lie in {root}; leave out .. behind a wildcard")
            listings[-1][1].append(path.removeprefix(below))
    listings = _each_once(listings)
    if not any(len(paths) for _, paths in listings):
        raise InputError(f"nothing to segment: every image lies in the output folder {output_dir}")

    # Compared without case: on many file systems A_mask.png and a_mask.png are one file.
    stems = (_stem(relative).casefold() for _, paths in listings for relative in paths)
    plan = Plan(listings, _repeated(stems), inside)
    if len(plan._shared):  # otherwise every name is a stem, and every stem another
        _check_names(plan)
    return plan


def _each_once(listings: list[tuple[Path, PathList]]) -> list[tuple[Path, PathList]]:
    """Leaves out what was found before."""
    again = _repeated(os.path.join(root, relative) for root, paths in listings for relative in paths)
    if not len(again):
        return listings
    kept, seen = [], np.zeros(len(again), bool)
    for root, paths in listings:
        kept.append((root, PathList()))
        for relative in paths:
            place = find(again, os.path.join(root, relative))
            if place is None or not seen[place]:
                kept[-1][1].append(relative)
            if place is not None:
                seen[place] = True
    return kept


def _check_names(plan: Plan) -> None:
    again = _repeated(job.name.casefold() for job in plan)
    owners: dict[int, Path] = {}
    for job in plan if len(again) else ():
        place = find(again, job.name.casefold())
        other = job.source if place is None else owners.setdefault(place, job.source)
        if other != job.source:
            raise InputError(f"{other} and {job.source} would both write {job.output('mask')}; segment them separately")


def _repeated(texts: Iterable[str]) -> np.ndarray:
    digests = bytearray()
    for text in texts:
        digests += digest(text)
    return repeated(digests)


def _stem(relative: str) -> str:
    """Without the suffix of the last part, as `Path.with_suffix`; a name that begins with its only dot has none."""
    dot = relative.rfind(".")
    return relative[:dot] if relative.rfind("/") + 1 < dot < len(relative) - 1 else relative


def write_outputs(job: Job, output_dir: Path, image: np.ndarray, result: Segmentation, kinds: Iterable[str]) -> None:
    """Writes the asked-for kinds of results of one image, each file atomically."""
    for kind in kinds:
        OUTPUTS[kind](output_dir / job.output(kind), image, result)


def _root(given: str | os.PathLike) -> Path:
    """The folder that results are placed relative to."""
    path = Path(given)
    if os.path.isdir(path):  # which a link to itself, or a folder closed to the user, does not stop
        return _absolute(path)
    parts = path.parts
    if not os.path.lexists(path) and glob.has_magic(os.fspath(given)):
        parts = parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))]
        return _absolute(Path(*parts))
    return _absolute(path).parent


def _absolute(path: str | os.PathLike) -> Path:
    """Absolute and without `..`, so that paths can be compared; symbolic links are left alone."""
    return Path(os.path.abspath(path))

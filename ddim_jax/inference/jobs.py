"""The pictures of all inputs, and the names of their results."""

import functools
import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from absl import logging

from ddim_jax.imageio.images import image_suffixes
from ddim_jax.imageio.listing import iterate_images, kind_of
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import InputError


class Job(NamedTuple):
    """One picture and where its results go.

    Attributes:
      root: absolute path of the folder that results are placed relative to.
      relative: path of the picture below it.
      name: relative path of the results without `_<kind>` and suffix, with forward slashes.
    """

    root: str
    relative: str
    name: str

    @property
    def source(self) -> str:
        """Absolute path of the picture."""
        return os.path.join(self.root, self.relative)

    def output(self, kind: str) -> str:
        """The relative path of one result file; `kind` is a name in `ddim_jax.registry.WRITERS`."""
        return f"{self.name}_{kind}{WRITERS.get(kind).suffix}"


class Plan(NamedTuple):
    """The pictures of all inputs.

    Attributes:
      jobs: in the order of the inputs, each file once.
      inside: the first picture that lies in the output folder, which only a file or a glob given there can; else None.
      passed_over: how many files of the folders and globs are no pictures, by their suffix (lower case, "" for none).
    """

    jobs: list[Job]
    inside: str | None
    passed_over: Counter[str]


def plan_jobs(inputs: str | os.PathLike | Iterable[str | os.PathLike], output_dir: str | os.PathLike) -> Plan:
    """Finds the pictures of files, folders and globs and names their results.

    A result lies in the same folder relative to the output folder as its picture lies relative to the folder given (or
    to the part of a glob before the first wildcard), and is named by the picture's stem; pictures of one folder whose
    stems agree (a.png, a.jpg) keep their extension in the name. What lies in the output folder is not an input.

    Raises:
      DataError: an input does not exist or holds no picture.
      InputError: the output folder is the input folder, or two inputs would write the same file; both are named.
    """
    output_dir = absolute(output_dir)
    found: dict[str, Job] = {}
    inside, others, suffixes = None, Counter(), image_suffixes()
    results = os.path.join(os.path.realpath(output_dir), "")
    # Of the folder last asked for: the files of one come one after the other.
    real_folder = functools.lru_cache(1)(os.path.realpath)

    def is_result(path: str) -> bool:
        """Links are followed: the output folder may be reached by several paths."""
        return os.path.join(real_folder(os.path.dirname(path)), "").startswith(results)

    def pass_over(path: str) -> None:
        if not is_result(absolute(path)):
            others[kind_of(path)] += 1

    for given in [inputs] if isinstance(inputs, str | os.PathLike) else inputs:
        _check_kind(given)
        root = _root(given)
        is_output = os.path.join(os.path.realpath(root), "") == results
        if is_output and not os.path.isfile(given):
            raise InputError(
                f"{output_dir} is both input and output; results would be taken for images. Use another output folder"
            )
        below = os.path.join(root, "")
        for path in iterate_images(root if os.path.isdir(given) else given, pass_over):
            path = absolute(path)
            if is_output:
                inside = inside or path
            elif is_result(path):
                continue
            elif os.path.islink(path) and os.path.realpath(path).startswith(results):
                logging.warning("%s is a link into the output folder and not segmented", path)
                continue
            if not path.startswith(below):
                raise InputError(f"{path}, found by {given}, does not lie in {root}; leave out .. behind a wildcard")
            relative = path.removeprefix(below)
            found.setdefault(path, Job(root, relative, _stem(relative, suffixes)))
    if not found:
        raise InputError(f"nothing to segment: every image lies in the output folder {output_dir}")
    return Plan(name_jobs(list(found.values())), inside, others)


def name_jobs(jobs: list[Job], known: Callable[[str, str], bool] = lambda name, source: False) -> list[Job]:
    """The same pictures under their stems, or with their extension where several have that stem.

    Args:
      jobs: all pictures of a run.
      known: tells of (name, source) whether there are results of that name of that picture. Such a picture keeps its
        name although another came beside it (a.jpg to a.png).

    Raises:
      InputError: two would write the same file; both are named.
    """
    # Compared without case: on many file systems A_mask.png and a_mask.png are one file.
    suffixes = image_suffixes()
    counts = Counter(_stem(job.relative, suffixes).casefold() for job in jobs)
    if len(counts) == len(jobs):
        return jobs
    named, owners = [], {}
    for job in jobs:
        stem = _stem(job.relative, suffixes)
        shared = counts[stem.casefold()] > 1 and not known(stem, job.source)
        job = job._replace(name=job.relative if shared else stem)
        other = owners.setdefault(job.name.casefold(), job)
        if other is not job:
            raise InputError(
                f"{other.source} and {job.source} would both write {job.output('mask')}; segment them separately"
            )
        named.append(job)
    return named


def _stem(relative: str, suffixes: tuple[str, ...]) -> str:
    """The path without the longest of `suffixes` that fits, such as .nii.gz, or else without the last dot and the rest.

    A name that begins with its only dot, or ends with it, stays as it is.
    """
    name = os.path.basename(relative)
    suffix = max((one for one in suffixes if name.lower().endswith(one)), key=len, default=Path(name).suffix)
    return relative[: len(relative) - len(suffix)] if len(suffix) < len(name) else relative


def absolute(path: str | os.PathLike) -> str:
    """The absolute path of the same file, without `..`: a link before a `..` is followed, as the system follows it.

    Other links are left alone: a folder may be moved to another disk behind one.
    """
    path = os.path.join(os.getcwd(), path)
    if ".." in (parts := path.split(os.sep)):
        last = len(parts) - parts[::-1].index("..")
        path = os.path.join(os.path.realpath(os.sep.join(parts[:last])), *parts[last:])
    return os.path.normpath(path)


def _check_kind(given: str | os.PathLike) -> None:
    """Refuses what is there and neither a file nor a folder: reading a FIFO or a device may wait for ever."""
    if os.path.exists(given) and not os.path.isfile(given) and not os.path.isdir(given):
        raise InputError(f"{given} is neither a file nor a folder; expected images")


def _root(given: str | os.PathLike) -> str:
    """The folder that results are placed relative to, an `absolute` path."""
    path = Path(given)
    if os.path.isdir(path):  # which a link to itself, or a folder closed to the user, does not stop
        return absolute(path)
    parts = path.parts
    if not os.path.lexists(path) and glob.has_magic(os.fspath(given)):
        return absolute(Path(*parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))]))
    return os.path.dirname(absolute(path))

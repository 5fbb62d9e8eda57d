"""The images of all inputs, and the names of their results."""

import functools
import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from absl import logging

from ddim_jax.imageio.dicom_grouping import group_series
from ddim_jax.imageio.images import image_suffixes, suffix_of
from ddim_jax.imageio.listing import images_beside, iterate_images, kind_of
from ddim_jax.inference.agreement import SETTINGS
from ddim_jax.inference.file_state import FileState, state_of
from ddim_jax.inference.parts import INDEX, list_parts
from ddim_jax.registry import READERS, WRITERS
from ddim_jax.runtime.errors import InputError

_RESULTS = "results of another run"


class Job(NamedTuple):
    """One image and where its results go.

    Attributes:
      root: absolute path of the folder that results are placed relative to.
      relative: path of the image below it; of a series its folder, or its first file where that holds others.
      name: relative path of the results without `_<kind>` and suffix, with forward slashes.
      slices: absolute paths of the files of a series; () for an image of one file.
    """

    root: str
    relative: str
    name: str
    slices: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Absolute path of the image."""
        return os.path.join(self.root, self.relative)

    @property
    def files(self) -> tuple[str, ...]:
        """Absolute paths of all files."""
        return self.slices or (self.source,)

    def state(self) -> FileState:
        """The state of all files; errors as `state_of`."""
        return state_of(self.files)

    def output(self, kind: str, slices: int = 1) -> str:
        """The relative path of one result; `kind` is a name in `ddim_jax.registry.WRITERS`.

        A source of several slices has a folder of files in place of one file, of the kinds that are of each slice.
        """
        writer = WRITERS.get(kind)
        is_folder = slices > 1 and not hasattr(writer, "write_stack")
        return f"{self.name}_{kind}{'' if is_folder else writer.suffix}"


def slice_name(index: int, count: int) -> str:
    """The name of slice `index`, from 0, of `count`, as its results have it: 001, of 1000 slices or more 0001."""
    return f"{index + 1:0{max(3, len(str(count)))}d}"


class Plan(NamedTuple):
    """The images of all inputs.

    Attributes:
      jobs: in the order of the inputs, each file once.
      inside: the first image that lies in the output folder, which only a file or a glob given there can; else None.
      passed_over: how many files of the folders and globs are no images, by their suffix (lower case, "" for none).
      remark: as `group_series` has it.
    """

    jobs: list[Job]
    inside: str | None
    passed_over: Counter[str]
    remark: str = ""


def plan_jobs(inputs: str | os.PathLike | Iterable[str | os.PathLike], output_dir: str | os.PathLike) -> Plan:
    """Finds the images of files, folders and globs and names their results.

    A result lies in the same folder relative to the output folder as its image lies relative to the folder given (or
    to the part of a glob before the first wildcard), and is named by the image's stem; images of one folder whose
    stems agree (a.png, a.jpg) keep their extension in the name. What lies in the output folder is not an input; nor are
    results of other runs below a folder or a glob, which are counted.

    Raises:
      DataError: an input does not exist or holds no image.
      InputError: the output folder is the input folder, or two inputs would write the same file; both are named. Or an
        input is the results of another run, or holds masks beside images.
    """
    output_dir = absolute(output_dir)
    found: dict[str, Job] = {}
    inside, others, suffixes = None, Counter(), image_suffixes()
    grouped: list[str] = []
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
        of_another_run = _results_of_others(root, None if os.path.isfile(given) else given)
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
            if of_another_run(os.path.dirname(path)):
                others[_RESULTS] += 1
                continue
            relative = path.removeprefix(below)
            found.setdefault(path, Job(root, relative, _stem(relative, suffixes)))
            if path != absolute(given):  # one file that is given is one image
                grouped.append(path)
    count = len(found)
    grouped = list(dict.fromkeys(grouped))  # several inputs may have found a file
    found, remark = _series(found, grouped, suffixes, others)
    if count and not found:
        kinds = ", ".join(f"{kind} {number}" for kind, number in sorted(others.items()) if kind.startswith("DICOM"))
        raise InputError(f"nothing to segment: none of the {count} DICOM files holds an image ({kinds})")
    if not found:
        also = f" or is one of the {others[_RESULTS]} results of other runs" if others[_RESULTS] else ""
        raise InputError(f"nothing to segment: every image lies in the output folder {output_dir}{also}")
    return Plan(name_jobs(list(found.values())), inside, others, remark)


def _results_of_others(root: str, given: str | os.PathLike | None) -> Callable[[str], bool]:
    """A function that tells whether a folder below `root` is of the results of a run, or lies in such a folder.

    It raises InputError for a folder of masks beside one of images, which would be taken for images.

    Args:
      root: an absolute path.
      given: the folder or glob that it is of; None for a file, which is meant, wherever it lies.

    Raises:
      InputError: `root` itself is of the results of a run.
    """

    def has_results(folder: str) -> bool:
        if not os.path.isfile(os.path.join(folder, SETTINGS)):
            return False
        # Several processes have parts alone until the last one ends.
        return os.path.isfile(os.path.join(folder, INDEX)) or bool(list_parts(Path(folder)))

    @functools.lru_cache(256)
    def tells(folder: str) -> bool:
        if given is None or len(folder) <= len(root):
            return False
        if (images := images_beside(folder)) is not None:
            raise InputError(f"{folder} lies beside {images}; its masks would be taken for images. Give {images}")
        return has_results(folder) or tells(os.path.dirname(folder))

    if given is not None and has_results(root):
        raise InputError(f"{given} holds results of sample ({SETTINGS}), which would be taken for images; give others")
    return tells


def _series(
    found: dict[str, Job], paths: list[str], suffixes: tuple[str, ...], others: Counter
) -> tuple[dict[str, Job], str]:
    """The jobs with one for each DICOM series in place of its files, and the remark of `group_series`.

    Files without an image are counted in `others`.

    A series that is alone in its folder is named by that, one of several by its first file.
    """
    own = READERS.get("dicom").suffixes
    paths = [path for path in paths if path.lower().endswith(own) or not path.lower().endswith(suffixes)]
    series, without, remark = group_series(paths) if paths else ([], {}, "")
    for path, kind in without.items():
        del found[path]
        others[f"DICOM, {kind}"] += 1
    in_folder = Counter(os.path.dirname(path) for path in found)
    jobs = dict(found)
    for files in series:
        if len(files) < 2:
            continue
        job, folder = found[files[0]], os.path.dirname(files[0])
        if in_folder[folder] == len(files):
            root = os.path.dirname(folder) if folder == job.root else job.root
            relative = folder.removeprefix(os.path.join(root, ""))
            job = Job(root, relative, _stem(relative, suffixes))
        for file in files[1:]:
            del jobs[file]
        jobs[files[0]] = job._replace(slices=tuple(files))
    return jobs, remark


def name_jobs(jobs: list[Job], known: Callable[[str, str], bool] = lambda name, source: False) -> list[Job]:
    """Jobs named by the stems of their images, or with the extension where several have that stem.

    Args:
      jobs: all images of a run.
      known: tells of (name, source) whether there are results of that name of that image. Such an image keeps its
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
    """The path without its suffix; a name that begins with its only dot, or ends with it, stays as it is."""
    name = os.path.basename(relative)
    suffix = suffix_of(name, suffixes)
    return relative.removesuffix(suffix) if 1 < len(suffix) < len(name) else relative


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

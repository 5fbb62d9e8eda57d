"""The files of an output folder that a run may replace or delete: those that the index says were written there.

Before the results of an image are written, `Index.claim` writes their names down, and after it their sizes
(`output_bytes`). So a run that was killed in between knows them for its own, and whatever else has the name of a result
belongs to somebody: a mask drawn by hand, a truth, a result that was edited since.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ddim_jax.imageio.stacks import count_slices
from ddim_jax.inference.flagging import FLAGGED
from ddim_jax.inference.index import INDEX, Index
from ddim_jax.inference.jobs import Job
from ddim_jax.inference.slice_folders import holds_only_slices, result_size
from ddim_jax.registry import WRITERS
from ddim_jax.runtime.errors import DataError, InputError

_NAMED = 3


def refuse_strangers(folder: Path, jobs: Iterable[Job], kinds: Iterable[str], index: Index | None = None) -> None:
    """Checks that nothing of somebody else stands where the results of these images go, as a file or as a folder.

    Args:
      folder: the output folder.
      jobs: the images that are about to be segmented.
      kinds: the kinds of results that are wanted.
      index: of the folder; None where it has none yet.

    Raises:
      InputError: files are in the way; some are named. Nothing was replaced or deleted.
    """
    found = [] if index is not None or not os.path.lexists(folder / FLAGGED) else [folder / FLAGGED]
    for job in jobs:
        found += _strangers(folder, job, kinds, {} if index is None else index.written(job))
    if found:
        others = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise InputError(
            f"{', '.join(map(str, found[:_NAMED]))}{others} would be replaced, and {INDEX} does not say that a run "
            "wrote them there as they are now. Use another output folder, or move them away: what is not there is made"
        )


def _strangers(folder: Path, job: Job, kinds: Iterable[str], written: Mapping[str, Any]) -> list[Path]:
    outputs = written.get("outputs", ())
    sizes = dict(zip(outputs, written.get("output_bytes", ()), strict=False))
    own = {job.output(kind, written.get("slices", 1)): kind for kind in outputs}
    found = []
    # A source of several slices has a folder; nobody knows before it is opened.
    for place in dict.fromkeys(job.output(kind, slices) for kind in (*kinds, *outputs) for slices in (1, 2)):
        path = folder / place
        if os.path.lexists(path) and not (place in own and _is_as_written(path, own[place], sizes.get(own[place]))):
            found.append(path)
    return found


def _is_as_written(path: Path, kind: str, size: int | None) -> bool:
    """Returns True for a result of that size (None: the run was killed before it wrote that down), or an empty one."""
    if path.is_dir() and not holds_only_slices(path, WRITERS.get(kind).suffix):
        return False
    return size is None or result_size(path) in (0, size)


def refuse_shared_folders(jobs: Iterable[Job], kinds: Iterable[str]) -> None:
    """Refuses a source of several slices, which have a folder of results, where another image's results go there.

    Args:
      jobs: all of a run.
      kinds: the kinds of results that are wanted.

    Raises:
      InputError: names both.
    """
    inside: dict[str, Job] = {}
    for job in jobs:
        folder = os.path.dirname(job.name.casefold())
        while folder and folder not in inside:
            inside[folder] = job
            folder = os.path.dirname(folder)
    for job in jobs if inside else ():
        for kind in kinds:
            folder = job.output(kind, 2)
            if (other := inside.get(folder.casefold())) is not None and (job.slices or _has_slices(job.source)):
                raise InputError(
                    f"the slices of {job.source} would be written into the folder {folder}, where the results of "
                    f"{other.source} go; segment them separately, with another --output, or rename one of them"
                )


def _has_slices(path: str) -> bool:
    try:
        return count_slices(path) > 1
    except DataError:  # reading it says why
        return False

"""Parts of the records of an index: the fields of a picture and its mask, and the reasons why there is none."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np

from ddim_jax.inference.jobs import Job
from ddim_jax.inference.reading import Loaded
from ddim_jax.inference.segmentation import Segmentation
from ddim_jax.labels import Labels


def _areas(mask: np.ndarray, labels: Labels) -> dict[str, Any]:
    """The pixels of the mask and, of several classes, of each."""
    areas = {"area": int(np.count_nonzero(mask))}
    if labels.several:
        names = enumerate(labels.class_names, start=1)
        areas["areas"] = {name: int(np.count_nonzero(labels.of_class(mask, number))) for number, name in names}
    return areas


def is_too_long(path: Path) -> bool:
    """Returns True if the file system has no names as long as that of `path`."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def name_too_long(job: Job, path: Path) -> str:
    """The reason why a picture has no result of that path."""
    return f"{job.source}: the name of a result is too long for the file system ({path}); rename it"


def facts_of(image: np.ndarray, result: Segmentation, labels: Labels) -> dict[str, Any]:
    """The fields of a record that are of the picture and its mask."""
    return {
        "height": image.shape[0],
        "width": image.shape[1],
        **_areas(result.mask, labels),
        "mean_uncertainty": round(float(result.uncertainty.mean(dtype=np.float64)), 6),
        "doubt": round(result.doubt, 6),
    }


def common(loaded: Loaded) -> dict[str, Any]:
    """The fields that every record has."""
    job = loaded.job
    return {"name": job.name, "file": job.source, "bytes": loaded.bytes, "mtime_ns": loaded.mtime_ns}


def needs_less(job: Job, pixels: int) -> str:
    """The reason why a picture that is too large for the memory has no results."""
    return (
        f"{job.source}: its {pixels:,} pixels take more memory than there is; cut or shrink it, or use fewer samples "
        "or size model"
    )

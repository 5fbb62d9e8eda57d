"""Parts of the records of an index: the fields of an image and its mask, and the reasons why there is none."""

import decimal
import errno
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ddim_jax.inference.jobs import Job
from ddim_jax.inference.reading import Loaded
from ddim_jax.inference.segmentation import Segmentation
from ddim_jax.inference.sliced_image import rounded
from ddim_jax.labels import Labels

_DOWN, _UP = (decimal.Context(prec=6, rounding=how) for how in (decimal.ROUND_FLOOR, decimal.ROUND_CEILING))


def _areas(mask: np.ndarray, labels: Labels, pixel_area: float | None = None) -> dict[str, Any]:
    """The pixels of the mask and, of several classes, of each; with `pixel_area` also in square millimetres."""
    areas: dict[str, Any] = {"area": int(np.count_nonzero(mask))}
    if labels.several:
        names = enumerate(labels.class_names, start=1)
        areas["areas"] = {name: int(np.count_nonzero(labels.of_class(mask, number))) for number, name in names}
    if pixel_area is not None:
        areas["area_mm2"] = rounded(areas["area"] * pixel_area)
        if labels.several:
            areas["areas_mm2"] = {name: rounded(area * pixel_area) for name, area in areas["areas"].items()}
    return areas


def is_too_long(path: Path) -> bool:
    """Returns True if the file system has no names as long as that of `path`."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def name_too_long(job: Job, path: Path) -> str:
    """The reason why an image has no result of that path."""
    return f"{job.source}: the name of a result is too long for the file system ({path}); rename it"


def not_made(unavailable: Mapping[str, str], kinds: Sequence[str]) -> str:
    """The reason why a source has failed of which some kinds of results cannot be made; it has those of `kinds`."""
    why = " ".join(dict.fromkeys(unavailable.values()))
    if not kinds:
        return why
    return f"{why} Its other results are written ({', '.join(kinds)}); leave out {', '.join(unavailable)}"


def _bounds(result: Segmentation, mask_areas: Mapping[str, int], pixel_area: float | None) -> dict[str, Any]:
    """The bounds of each class by its name, areas rounded outwards."""
    found = {}
    for name, one in result.bounds.items():
        areas = {
            "area": mask_areas[name],
            "area_low": math.floor(one.area_low),
            "area_high": math.ceil(one.area_high),
        }
        found[name] = areas | {"dice_low": math.floor(one.dice_low * 1e6) / 1e6, "unlike": one.unlike}
        if pixel_area is not None:
            found[name] |= {
                "area_mm2": rounded(areas["area"] * pixel_area),
                "area_low_mm2": float(_DOWN.create_decimal(areas["area_low"] * pixel_area)),
                "area_high_mm2": float(_UP.create_decimal(areas["area_high"] * pixel_area)),
            }
    return {"bounds": found} if found else {}


def record_fields(
    image: np.ndarray, result: Segmentation, labels: Labels, pixel_area: float | None = None
) -> dict[str, Any]:
    """The fields of a record that are of the image and its mask; `pixel_area` in square millimetres."""
    areas = _areas(result.mask, labels, pixel_area)
    hypotheses = [
        {"weight": round(one.weight, 6), "samples": len(one.samples), **_areas(one.mask, labels, pixel_area)}
        for one in result.hypotheses
    ]
    of_classes = areas.get("areas") or {labels.class_names[0]: areas["area"]}
    return {
        "height": image.shape[0],
        "width": image.shape[1],
        **areas,
        **_bounds(result, of_classes, pixel_area),
        **({"hypotheses": hypotheses} if hypotheses else {}),
        "mean_uncertainty": round(float(result.uncertainty.mean(dtype=np.float64)), 6),
        "doubt": round(result.doubt, 6),
        "unlikeness": None if result.unlikeness is None else float(f"{result.unlikeness:.4g}"),
    }


def common(loaded: Loaded) -> dict[str, Any]:
    """The fields that every record has."""
    job = loaded.job
    return {"name": job.name, "file": job.source, **loaded.state.fields()}


def needs_less(job: Job, pixels: int) -> str:
    """The reason why an image that is too large for the memory has no results."""
    return (
        f"{job.source}: its {pixels:,} pixels take more memory than there is; cut or shrink it, or use fewer samples "
        "or size model"
    )

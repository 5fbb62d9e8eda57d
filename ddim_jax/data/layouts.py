"""Advice on a folder that is laid out in another way than `ddim_jax.data.datasets.folder` takes it."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ddim_jax.data.sources import same_name

_NNUNET = "This is nnU-Net's layout: link imagesTr as images, labelsTr as masks, and drop _0000 from the images' names"


def advice_on_folder(root: Path, wanted: Sequence[str]) -> str:
    """Says what to do where `root` lacks the folders `wanted`; "" where nothing is known."""
    place = Path(os.path.abspath(root))
    if place.name in wanted and all(os.path.isdir(place.parent / name) for name in wanted):
        return f"Its parent {place.parent} has {' and '.join(wanted)}: give that"
    if all(os.path.isdir(place / name) for name in ("imagesTr", "labelsTr")):
        return _NNUNET
    return ""


def advice_on_names(images: Iterable[str], masks: Iterable[str]) -> list[str]:
    """Lines on what to do where files do not pair up.

    Args:
      images, masks: the paths of all files below images/ and masks/, without their suffixes.
    """
    of_images = {same_name(name) for name in images}
    if any(name + "_0000" in of_images and name not in of_images for name in map(same_name, masks)):
        return [_NNUNET]
    return []

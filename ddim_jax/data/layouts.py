"""Advice on a folder that is laid out in another way than `ddim_jax.data.datasets.folder` takes it."""

import os
from collections.abc import Sequence
from pathlib import Path


def advice_on_folder(root: Path, wanted: Sequence[str]) -> str:
    """Says what to do where `root` lacks the folders `wanted`; "" where nothing is known."""
    place = Path(os.path.abspath(root))
    if place.name in wanted and all(os.path.isdir(place.parent / name) for name in wanted):
        return f"Its parent {place.parent} has {' and '.join(wanted)}: give that"
    return ""

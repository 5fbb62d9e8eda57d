"""Searching an unpacked archive, however deep its folders lie and however their names are written."""

import os
from collections.abc import Iterable
from pathlib import Path

from ddim_jax.imageio.listing import IMAGE_SUFFIXES, unreadable_folder, worth_entering
from ddim_jax.runtime.errors import DataError

_IMAGE_FOLDERS = ("images", "image")
_MASK_FOLDERS = ("masks", "mask", "annotations", "annotation")


def existing_root(root: str | os.PathLike, instructions: str) -> Path:
    """The root as a path; DataError with the instructions where there is no such folder."""
    if not Path(root).is_dir():
        raise DataError(f"{root}: no such folder. {instructions}")
    return Path(root)


def all_images(folder: Path) -> list[Path]:
    """Every picture below `folder`, sorted; hidden entries and folders of the system are left out."""
    found = []
    for place, folders, files in os.walk(folder, onerror=unreadable_folder, followlinks=True):
        folders[:] = worth_entering(folders)
        names = (name for name in files if not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES))
        found.extend(Path(place, name) for name in names)
    return sorted(found)


def images_and_masks(folder: Path) -> tuple[Path | None, Path | None]:
    """The folders of images and of masks directly in `folder`, each None where there is none."""
    names = {entry.name.lower(): entry for entry in sorted(folder.iterdir()) if entry.is_dir()}
    images = next((names[name] for name in _IMAGE_FOLDERS if name in names), None)
    masks = next((names[name] for name in _MASK_FOLDERS if name in names), None)
    return images, masks


def folders_below(root: Path) -> list[Path]:
    """`root` and every folder below it, sorted, but for hidden ones and those of the system."""
    found = []
    for place, folders, _ in os.walk(root, onerror=unreadable_folder, followlinks=True):
        folders[:] = worth_entering(folders)
        found.append(Path(place))
    return found


def listed(names: Iterable[object]) -> str:
    """At most ten names for a message."""
    names = [str(name) for name in names]
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") if names else "nothing"

"""RSUA chest X-rays: three classes, each with images/ and masks/."""

import re
from pathlib import Path

from ddim_jax.data.datasets._published import Found, Published, split_by_stratum
from ddim_jax.data.discovery import all_images, entries, folders_below, images_and_masks, listed, match_pairs
from ddim_jax.data.sources import data_error
from ddim_jax.registry import DATASETS
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import quantity

CLASSES = ("covid", "non_covid", "non_covid_pneumonia")


def find_rsua(root: Path) -> Found:
    """Finds the pairs below `root`: every images/ with a masks/ beside it; the folder around them is the class.

    A mask is named as its image with "images" replaced by "mask", so names are compared without either word. The .npy
    copies beside the images are left alone. Ids are class/name, in small letters, whatever the spelling on disk. The
    split (8:1:1 of each class) is drawn by a fixed seed.

    Raises:
      DataError: a folder or a file is missing; what is missing is named, up to ten.
    """
    pairs, problems, classes = [], [], []
    for folder in folders_below(root):
        images, masks = images_and_masks(folder)
        if images is None and masks is None:
            continue
        if images is None or masks is None:
            problems.append(f"{folder} has {'masks/' if images is None else 'images/'} but no "
                            f"{'images/' if images is None else 'masks/'}")  # fmt: skip
            continue
        group = _plain(folder.name)
        classes.append(group)
        found, unmatched = match_pairs(
            ((f"{group}/{_key(file)}", file) for file in _pictures(images)),
            ((f"{group}/{_key(file)}", file) for file in _pictures(masks)),
            group,
        )
        pairs += found
        problems += unmatched
    missing = [name for name in CLASSES if name not in classes]
    if classes and len(missing) < len(CLASSES) and len(classes) < len(CLASSES):
        problems += [f"no class folder {name} with images/ and masks/ (found {listed(classes)})" for name in missing]
    problems += [f"{one} is there twice" for one in _repeated(pair.id for pair in pairs)]
    if problems:
        raise data_error(f"{root}: the RSUA data set is not complete ({quantity(len(problems), 'problem')}):", problems)
    if not pairs:
        raise DataError(
            f"{root}: no RSUA data set. Expected, at any depth, folders {', '.join(CLASSES)} with images/ and masks/ "
            f"in each; found {entries(root)}."
        )
    return Found(split_by_stratum(pairs))


def _pictures(folder: Path) -> list[Path]:
    """Its images without the copies, which a reader from elsewhere may be for."""
    return [file for file in all_images(folder) if file.suffix.lower() != ".npy"]


def _key(file: Path) -> str:
    return _plain(re.sub("images?|masks?", " ", file.stem, flags=re.IGNORECASE)) or _plain(file.stem)


def _plain(name: str) -> str:
    """Small letters and digits with one underscore where anything else was."""
    return re.sub("[^0-9a-z]+", "_", name.lower()).strip("_")


def _repeated(ids) -> list[str]:
    seen: set[str] = set()
    return [one for one in ids if one in seen or seen.add(one)]


RSUA = Published(
    name="rsua",
    description="292 chest X-rays (COVID-19, other pneumonia, healthy) with masks of both lungs, 256 x 256.",
    count=292,
    homepage="https://doi.org/10.17632/2jg8vfdmpm.1",
    licence="CC BY 4.0",
    citation="RSUA Chest X-Ray Dataset, Mendeley Data, version 1, doi:10.17632/2jg8vfdmpm.1.",
    instructions=(
        "Download 'RSUA Chest X-Ray Dataset' from Mendeley Data, https://doi.org/10.17632/2jg8vfdmpm.1 (CC BY 4.0), "
        "and unpack it below the root folder: it holds 'Data Chest X-Ray RSUA (Validated)' with the folders Covid, "
        "Non_Covid and Non_Covid_Pneumonia, each with images/ and masks/."
    ),
    find=find_rsua,
)
DATASETS.register("rsua")(RSUA.load)

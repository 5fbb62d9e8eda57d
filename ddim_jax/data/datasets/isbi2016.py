"""ISBI 2016 (ISIC) part 1: dermoscopy, a published training and test set."""

import re
from pathlib import Path

from ddim_jax.data.datasets._published import Found, Published
from ddim_jax.data.discovery import all_images, entries, match_pairs
from ddim_jax.data.seeded import seeded_order
from ddim_jax.data.sources import Pair, data_error
from ddim_jax.registry import DATASETS
from ddim_jax.runtime.values import quantity

_PARTS = ("training", "test")
# The challenge has no validation set; this seed's tenth of the training set is the one this package always uses.
_SPLIT_SEED = 0
_IMAGE = re.compile(r"(isic_\d+)", re.IGNORECASE)
_MASK = re.compile(r"(isic_\d+)_segmentation", re.IGNORECASE)
# Parts 2 and 3 of the challenge show the same images for other tasks.
_OTHER_PART = re.compile(r"part_?[23]b?(?![0-9])", re.IGNORECASE)


def find_isbi2016(root: Path) -> Found:
    """Finds ISIC_*.jpg and ISIC_*_Segmentation.png below `root`; train or test is told by a folder's name.

    Train and test are as published; val is a tenth of the published training set, drawn by a fixed seed.

    Raises:
      DataError: a part or a file is missing; what is missing is named, up to ten.
    """
    parts: dict[str, dict[str, list[tuple[str, Path]]]] = {part: {"images": [], "masks": []} for part in _PARTS}
    problems = []
    for file in all_images(root):
        mask, image = _MASK.fullmatch(file.stem), _IMAGE.fullmatch(file.stem)
        folders = file.relative_to(root).parts[:-1]
        if not (mask or image) or any(_OTHER_PART.search(folder) for folder in folders):
            continue
        part = _part(folders)
        if part is None:
            problems.append(f"{file}: no folder around it is called Training or Test")
        elif mask:
            parts[part]["masks"].append((mask[1].upper(), file))
        else:
            parts[part]["images"].append((image[1].upper(), file))

    found: dict[str, list[Pair]] = {}
    for part, files in parts.items():
        absent = [kind for kind, listing in files.items() if not listing]
        title = part.capitalize()
        if not absent:
            found[part], unmatched = match_pairs(files["images"], files["masks"], part)
            problems += unmatched
        if "images" in absent:
            problems.append(f"no {part} images: ISBI2016_ISIC_Part1_{title}_Data/ISIC_*.jpg")
        if "masks" in absent:
            problems.append(f"no {part} masks: ISBI2016_ISIC_Part1_{title}_GroundTruth/ISIC_*_Segmentation.png")
    if problems:
        holds = f"{quantity(len(problems), 'problem')}; found {entries(root)}"
        raise data_error(f"{root}: ISBI 2016 part 1 is not complete ({holds}):", problems)
    ordered = seeded_order((pair.id for pair in found["training"]), _SPLIT_SEED)
    val = set(ordered[: max(len(ordered) // 10, 1)])
    return Found(
        {
            "train": [pair for pair in found["training"] if pair.id not in val],
            "val": [pair for pair in found["training"] if pair.id in val],
            "test": found["test"],
        }
    )


def _part(folders: tuple[str, ...]) -> str | None:
    """Training or test by the innermost folder that says so."""
    for folder in reversed(folders):
        if "train" in folder.lower():
            return "training"
        if "test" in folder.lower():
            return "test"
    return None


ISBI2016 = Published(
    name="isbi2016",
    description="ISBI 2016 challenge, part 1: 900 + 379 dermoscopic images with masks of the lesion.",
    count=900 + 379,
    homepage="https://challenge.isic-archive.com/data/#2016",
    licence="CC0",
    citation=(
        "Gutman et al., Skin Lesion Analysis toward Melanoma Detection: A Challenge at the International Symposium on "
        "Biomedical Imaging (ISBI) 2016, hosted by the International Skin Imaging Collaboration (ISIC), "
        "arXiv:1605.01397."
    ),
    instructions=(
        "Download the four archives of part 1 of the 2016 challenge from https://challenge.isic-archive.com/data/#2016 "
        "(CC0): ISBI2016_ISIC_Part1_Training_Data.zip, ISBI2016_ISIC_Part1_Training_GroundTruth.zip, "
        "ISBI2016_ISIC_Part1_Test_Data.zip and ISBI2016_ISIC_Part1_Test_GroundTruth.zip; unpack them below the root."
    ),
    find=find_isbi2016,
)
DATASETS.register("isbi2016")(ISBI2016.load)

"""PolypDB: colonoscopy in five modalities, each with images/ and masks/."""

import re
from pathlib import Path

from absl import logging

from ddim_jax.data.discovery import all_images, folders_below, images_and_masks, listed
from ddim_jax.data.matching import match_pairs
from ddim_jax.data.sources import Pair, data_error
from ddim_jax.data.splits import seeded_split
from ddim_jax.runtime.errors import DataError

MODALITIES = ("BLI", "FICE", "LCI", "NBI", "WLI")
# No split was published; this seed's is the one this package always uses.
_SPLIT_SEED = 0


def find_polypdb(root: Path) -> dict[str, list[Pair]]:
    """Finds the folders BLI, FICE, LCI, NBI and WLI below `root` and pairs images and masks of the same stem in each.

    The archive also holds the same pictures by centre; where both are there, those below a folder called "...center..."
    are left out. The modalities are pooled and split 8:1:1 within each, val and test rounded down, which makes 3150,
    392 and 392 of the published 3,934 (70, 70, 60, 146 and 3588): the paper's numbers. The split's seed is fixed.

    Raises:
      DataError: a modality or a file is missing; what is missing is named, up to ten.
    """
    places = [folder for folder in folders_below(root) if folder.name.upper() in MODALITIES]
    by_centre = [folder for folder in places if re.search("cent(er|re)", str(folder.relative_to(root)).lower())]
    if 0 < len(by_centre) < len(places):
        logging.info("PolypDB: leaving out the copies by centre (%s).", listed(by_centre))
        places = [folder for folder in places if folder not in by_centre]

    problems, images, masks = [], [], []
    for folder in places:
        of_images, of_masks = images_and_masks(folder)
        for kind, place, files in (("images", of_images, images), ("masks", of_masks, masks)):
            if place is None:
                problems.append(f"{folder} has no folder {kind}/")
            else:
                stems = [(f"{folder.name.upper()}/{file.relative_to(place).with_suffix('')}", file)
                         for file in all_images(place)]  # fmt: skip
                files += stems
                if not stems:
                    problems.append(f"{place} holds no pictures")
    present = {folder.name.upper() for folder in places}
    if not present:
        raise DataError(
            f"{root}: no PolypDB. Expected, at any depth, folders {', '.join(MODALITIES)} with images/ and masks/ in "
            f"each; found {listed(sorted(entry.name for entry in root.iterdir()))}."
        )
    problems += [f"no folder {name} with images/ and masks/" for name in MODALITIES if name not in present]
    matched, unmatched = match_pairs(images, masks)
    problems += unmatched
    if problems:
        raise data_error(f"{root}: PolypDB is not complete ({len(problems)} problems):", problems)
    pairs = [pair._replace(group=pair.id.partition("/")[0]) for pair in matched]
    split = seeded_split([pair.id for pair in pairs], _SPLIT_SEED, {pair.id: pair.group for pair in pairs})
    return {name: [pair for pair in pairs if split[pair.id] == name] for name in ("train", "val", "test")}

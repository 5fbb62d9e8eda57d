"""PolypDB: colonoscopy in five modalities, each with images/ and masks/, and the split of its authors."""

import re
from pathlib import Path, PurePath

from absl import logging

from ddim_jax.data.datasets._published import Found, Published, split_by_stratum
from ddim_jax.data.discovery import all_images, entries, folders_below, images_and_masks, listed, match_pairs
from ddim_jax.data.sources import Pair, data_error
from ddim_jax.data.tables import read_table
from ddim_jax.registry import DATASETS
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import quantity

MODALITIES = ("BLI", "FICE", "LCI", "NBI", "WLI")
_TABLES = {"train": "train.csv", "val": "valid.csv", "test": "test.csv"}


def find_polypdb(root: Path) -> Found:
    """Finds the folders BLI, FICE, LCI, NBI and WLI below `root` and pairs images and masks of the same stem in each.

    The archive also holds the same images by centre; where both are there, those below a folder called "...center..."
    are left out. The modalities are pooled. The split is the authors' where its tables (`MODALITY/train.csv`,
    `valid.csv`, `test.csv`) lie below `root`, at any depth. Otherwise it is drawn by a fixed seed, 8:1:1 within each
    modality, and the note says so. Either way 3150, 392 and 392 of the published 3,934 are train, val and test.

    Raises:
      DataError: a modality, a file or a table is missing, or the tables do not fit the files; up to ten are named.
    """
    folders = [folder for folder in folders_below(root) if folder.name.upper() in MODALITIES]
    tables = {folder: [folder / name for name in _TABLES.values() if (folder / name).is_file()] for folder in folders}
    places = [folder for folder in folders if not tables[folder] or any(images_and_masks(folder))]
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
                    problems.append(f"{place} holds no images")
    present = {folder.name.upper() for folder in places}
    if not present:
        raise DataError(
            f"{root}: no PolypDB. Expected, at any depth, folders {', '.join(MODALITIES)} with images/ and masks/ in "
            f"each; found {entries(root)}."
        )
    problems += [f"no folder {name} with images/ and masks/" for name in MODALITIES if name not in present]
    matched, unmatched = match_pairs(images, masks)
    problems += unmatched
    if problems:
        raise data_error(f"{root}: PolypDB is not complete ({quantity(len(problems), 'problem')}):", problems)
    pairs = [pair._replace(stratum=pair.id.partition("/")[0]) for pair in matched]
    tables = {folder: found for folder, found in tables.items() if found}
    if tables:
        return Found(_official_split(root, pairs, tables))
    return Found(
        split_by_stratum(pairs),
        "the split is not the official one of PolypDB: its tables (train.csv, valid.csv and test.csv of each modality, "
        "dataset-split/Modality-Wise in github.com/DebeshJha/PolypDB) do not lie below the data; split 8:1:1 by a seed",
    )


def _official_split(root: Path, pairs: list[Pair], tables: dict[Path, list[Path]]) -> dict[str, list[Pair]]:
    """The pairs by the tables found in each modality's folder."""
    problems = []
    of_modality = {}
    for folder, found in tables.items():
        other = of_modality.setdefault(folder.name.upper(), folder)
        if other != folder:
            problems.append(f"{other} and {folder} both have tables")
        problems += [f"{folder / name} is missing" for name in _TABLES.values() if folder / name not in found]
    problems += [f"no tables of {name}" for name in MODALITIES if name not in of_modality]
    split_of: dict[str, str] = {}
    for modality, folder in of_modality.items() if not problems else ():
        for split, name in _TABLES.items():
            for stem in _stems(folder / name):
                key = f"{modality}/{stem}".casefold()
                if split_of.setdefault(key, split) != split:
                    problems.append(f"{modality}/{stem} is in {split} and in {split_of[key]}")
    # A table names the file alone, in whatever folder below images/ it lies.
    keys = [f"{pair.stratum}/{PurePath(pair.id).name}".casefold() for pair in pairs]
    if not problems:
        problems += [f"{pair.id} is in no table" for pair, key in zip(pairs, keys, strict=True) if key not in split_of]
        there = set(keys)
        problems += [f"{key} is in a table, but there is no such pair" for key in split_of if key not in there]
    if problems:
        raise data_error(
            f"{root}: the tables of PolypDB's official split cannot be used ({quantity(len(problems), 'problem')}; "
            "without any table the split is drawn by a seed):",
            problems,
        )
    return {split: [pair for pair, key in zip(pairs, keys, strict=True) if split_of[key] == split] for split in _TABLES}


def _stems(table: Path) -> list[str]:
    """The names without suffix in the column ImagePath."""
    header, *rows = read_table(table) or [[]]
    columns = [cell.strip().lower() for cell in header]
    if "imagepath" not in columns:
        raise DataError(f"{table}: the first line is {', '.join(header) or 'empty'}; expected a column ImagePath.")
    at = columns.index("imagepath")
    return [PurePath(row[at].strip()).stem for row in rows if len(row) > at and row[at].strip()]


POLYPDB = Published(
    name="polypdb",
    description="3,934 colonoscopic images in five modalities with masks of the polyps.",
    count=3934,
    homepage="https://osf.io/pr7ms",
    licence="As stated at https://osf.io/pr7ms.",
    citation=(
        "Jha et al., PolypDB: A Curated Multi-Center Dataset for Development of AI Algorithms in Colonoscopy, "
        "arXiv:2409.00045."
    ),
    instructions=(
        "Download PolypDB from https://osf.io/pr7ms (its page states the licence) and unpack it below the root: it "
        "holds PolypDB_modality_wise with the folders BLI, FICE, LCI, NBI and WLI, each with images/ and masks/. For "
        "the official split put dataset-split/Modality-Wise of https://github.com/DebeshJha/PolypDB there as well."
    ),
    find=find_polypdb,
)
DATASETS.register("polypdb")(POLYPDB.load)

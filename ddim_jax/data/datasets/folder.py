"""A folder of images/ and masks/ as a data set."""

import re
from pathlib import Path

from ddim_jax.data.discovery import entries, match_pairs
from ddim_jax.data.sources import DataOptions, Pair, PairSource, data_error
from ddim_jax.data.splits import folder_split
from ddim_jax.imageio.listing import list_images
from ddim_jax.registry import DATASETS
from ddim_jax.runtime.errors import DataError

_MASK_SUFFIX = re.compile(r"[_-](masks?|segmentation|seg|labels?)$", re.IGNORECASE)


@DATASETS.register("folder")
def load_folder(split: str, options: DataOptions) -> PairSource:
    """One split of the pairs below `options.root`, by its splits.csv or a split drawn once (`splits.folder_split`).

    Raises:
      ConfigError: `options.root` is not given.
      DataError: there are no pairs, some files have no partner, or splits.csv does not fit; all of it is said at once,
        up to ten names.
    """
    root = options.folder("folder")
    pairs = find_pairs(root)
    split_of = folder_split(root, [pair.id for pair in pairs], seed=options.seed, cache_dir=options.cache_dir)
    chosen = [pair for pair in pairs if split_of[pair.id] == split]
    if not chosen:
        raise DataError(f"{root}: no pair belongs to the split {split}; give it lines in splits.csv.")
    return PairSource(root.resolve().name, chosen, labels=options.labels, reading=options.reading)


def find_pairs(root: Path) -> list[Pair]:
    """Pairs the files of `root`/images with those of `root`/masks, both searched through and through.

    A pair shares its path below images/ and masks/ but for the suffix; the mask's name may end in _mask, _segmentation,
    _seg or _label. That path without the suffix is the id.

    Raises:
      DataError: as `load_folder`.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected a folder with images/ and masks/ in it.")
    folders: dict[str, Path] = {}
    for entry in sorted(entry for entry in root.iterdir() if entry.is_dir()):
        name = entry.name.lower()
        if name in ("images", "masks") and name in folders:
            raise DataError(f"{root} holds both {folders[name].name} and {entry.name}; put all {name} into one.")
        folders[name] = entry
    missing = [name for name in ("images", "masks") if name not in folders]
    if missing:
        raise DataError(f"{root} has no folder {' and no folder '.join(missing)}; it holds {entries(root)}.")
    images = [(_stem(file, folders["images"]), file) for file in list_images(folders["images"])]
    known = {stem.casefold() for stem, _ in images}
    masks = []
    for file in list_images(folders["masks"]):
        stem = _stem(file, folders["masks"])
        # An image may itself be called x_mask: its own name goes first.
        masks.append((stem if stem.casefold() in known else _MASK_SUFFIX.sub("", stem), file))
    pairs, problems = match_pairs(images, masks)
    if problems:
        raise data_error(f"{root}: {len(problems)} files of images/ and masks/ do not pair up by name:", problems)
    return pairs


def _stem(file: Path, folder: Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()

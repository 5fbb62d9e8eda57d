"""Data sets by name."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddim_jax.data.folds import check_folds
from ddim_jax.data.options import DataOptions
from ddim_jax.data.sources import SPLITS, Source
from ddim_jax.data.split_files import find_table
from ddim_jax.imageio.images import ReadOptions
from ddim_jax.labels import Labels
from ddim_jax.registry import DATASETS
from ddim_jax.runtime.cache_folder import cache_folder
from ddim_jax.runtime.errors import ConfigError, DataError
from ddim_jax.runtime.remote import local_path


def generated_names() -> tuple[str, ...]:
    """The names of the data sets without files: their functions have an attribute `generated` that is true."""
    return tuple(name for name, load in DATASETS.items() if getattr(load, "generated", False))


def load_dataset(name: str, split: str, **given: Any) -> Source:
    """One split of a data set.

    Of a folder of pairs without splits.csv the split is drawn once and written there, or into `cache_dir` where that
    cannot be; with `read_only` nothing is written.

    Args:
      name: of a registered data set: phantom and ambiguous (generated), folder (images/ and masks/ below `root`), a
        published one as it is unpacked below `root` (rsua, isbi2016, polypdb), or one of another package.
      split: train, val or test; "all" of a folder of pairs alone, in which no split is then read or drawn.
      **given: fields of `ddim_jax.data.options.DataOptions`.

    Raises:
      ConfigError: the name, the split, the root, the counts, the folds or the annotators are not as they have to be.
      DataError: the data below `root` cannot be used, files are named, up to ten; or two pairs have one id.
      InputError: a published set is asked for and tensorflow-datasets is not installed, or a path is of remote storage.
      TypeError: there is no field of that name.
    """
    load, options = DATASETS.get(name, "data.name"), DataOptions(**given)
    if split not in SPLITS and not (split == "all" and name == "folder"):
        raise ConfigError(f"Unknown split {split!r}; expected one of {', '.join(SPLITS)}.")
    check_folds(name, options.folds, options.fold)
    annotators = tuple(options.annotators)
    if annotators and name != "folder":
        raise ConfigError(
            f"data.annotators is {list(annotators)} of the data set {name}; expected it of a folder alone"
        )
    root, cache_dir = local_path(options.root or None, "data.root"), _cache(options.cache_dir)
    source = load(split, options._replace(root=root, cache_dir=cache_dir, annotators=annotators))
    if source is None:
        raise ConfigError(f"the data set {name!r} returned nothing for the split {split}; expected a data set")
    if twice := [one for one, count in Counter(source.ids).items() if count > 1]:
        raise DataError(
            f"the data set {name}, {split}: {twice[0]!r} names more than one pair; expected one id for each"
        )
    return source


def configured(data: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `load_dataset`, but for the split, that the section `data` of a config stands for.

    Nothing is written: a start that is refused leaves no split behind (`ddim_jax.data.division.Division.keep`).
    """
    same = ("name", "root", "image_size", "cache_dir", "counts", "groups", "folds", "fold", "annotators")
    found = {name: data[name] for name in same if name in data}
    values = {"labels": Labels.from_config(data), "reading": ReadOptions.of(data)}
    return found | {"seed": data.get("split_seed", 0), "read_only": True, **values}


def has_split(root: str | os.PathLike, cache_dir: str | os.PathLike | None = None) -> bool:
    """Returns True if the folder of pairs `root` has a table of its split, beside the images or in the cache.

    Raises:
      DataError: the table is a link to nothing.
    """
    return find_table(Path(root), _cache(cache_dir)) is not None


def _cache(cache_dir: str | os.PathLike | None) -> Path:
    return local_path(cache_dir or None, "data.cache_dir") or cache_folder()

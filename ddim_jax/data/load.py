"""Data sets by name."""

import os
from collections.abc import Mapping
from pathlib import Path

from ddim_jax.data.sources import SPLITS, DataOptions, Source
from ddim_jax.imageio.images import ReadOptions
from ddim_jax.labels import Labels
from ddim_jax.registry import DATASETS
from ddim_jax.runtime.cache_folder import cache_folder
from ddim_jax.runtime.errors import ConfigError, InputError
from ddim_jax.runtime.remote import refuse_remote


def load_dataset(
    name: str,
    split: str,
    *,
    root: str | os.PathLike | None = None,
    seed: int = 0,
    image_size: int = 64,
    cache_dir: str | os.PathLike | None = None,
    counts: Mapping[str, int] | None = None,
    labels: Labels = Labels(),
    reading: ReadOptions = ReadOptions(),
) -> Source:
    """One split of a data set.

    Args:
      name: of a registered data set: phantom (generated), folder (images/ and masks/ below `root`), a published one as
        it is unpacked below `root` (rsua, isbi2016, polypdb), or one of another package.
      split: train, val or test.
      root: the folder; phantom needs none.
      seed: of the phantoms, and of a folder's split where it has none. The splits of published sets are fixed.
      image_size: side in pixels of the phantoms; the pictures of the others keep their own size.
      cache_dir: for indices and for splits that cannot be written beside the data; by default ddim_jax in the user's
        cache folder ($XDG_CACHE_HOME, else ~/.cache).
      counts: number of phantoms in each split; by default 512, 64 and 64.
      labels: the classes of the masks; by default one, read by the level.
      reading: how pictures are read from files.

    Raises:
      ConfigError: the name, the split, the root or the counts are not as above.
      DataError: the data below `root` cannot be used; files are named, up to ten.
      InputError: a published set is asked for and tensorflow-datasets is not installed, or a path is of remote storage.
    """
    load = DATASETS.get(name, "data.name")
    if split not in SPLITS:
        raise ConfigError(f"Unknown split {split!r}; expected one of {', '.join(SPLITS)}.")
    refuse_remote(root, "data.root")
    refuse_remote(cache_dir, "data.cache_dir")
    try:
        place = Path(cache_dir) if cache_dir else cache_folder()
    except RuntimeError as error:
        raise InputError(f"no cache folder: {error} Set XDG_CACHE_HOME, or data.cache_dir.") from error
    return load(split, DataOptions(Path(root) if root else None, seed, image_size, place, counts, labels, reading))

"""Every data set by its name."""

import os
from collections.abc import Mapping
from pathlib import Path

from ddim_jax.data.datasets.folder import load_folder
from ddim_jax.data.datasets.phantom import PhantomSource
from ddim_jax.data.datasets.prepared import load_published
from ddim_jax.data.datasets.published import PUBLISHED
from ddim_jax.data.sources import SPLITS, Source
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.runtime.remote import refuse_remote
from ddim_jax.runtime.values import is_whole

DATASETS = ("phantom", "folder", *PUBLISHED)
_MOST_PHANTOMS = 10**7
PHANTOM_COUNTS = {"train": 512, "val": 64, "test": 64}


def load_dataset(
    name: str,
    split: str,
    *,
    root: str | os.PathLike | None = None,
    seed: int = 0,
    image_size: int = 64,
    cache_dir: str | os.PathLike | None = None,
    counts: Mapping[str, int] | None = None,
) -> Source:
    """One split of a data set.

    Args:
      name: phantom (generated), folder (images/ and masks/ below `root`), or a published one as it is unpacked below
        `root`: rsua, isbi2016, polypdb.
      split: train, val or test.
      root: the folder; phantom needs none.
      seed: of the phantoms, and of a folder's split where it has none. The splits of published sets are fixed.
      image_size: side in pixels of the phantoms; the pictures of the others keep their own size.
      cache_dir: for indices and for splits that cannot be written beside the data; by default ddim_jax in the user's
        cache folder.
      counts: how many phantoms each split has; by default 512, 64 and 64.

    Raises:
      ConfigError: the name, the split, the root or the counts are not as above.
      DataError: the data below `root` cannot be used; files are named, up to ten.
      InputError: a published set is asked for and tensorflow-datasets is not installed, or a path is of remote storage.
    """
    if name not in DATASETS:
        raise ConfigError(f"Unknown data set {name!r} (data.name); expected one of {', '.join(DATASETS)}.")
    if split not in SPLITS:
        raise ConfigError(f"Unknown split {split!r}; expected one of {', '.join(SPLITS)}.")
    refuse_remote(root, "data.root")
    refuse_remote(cache_dir, "data.cache_dir")
    if name == "phantom":
        chosen = {**PHANTOM_COUNTS, **(counts or {})}
        if set(chosen) != set(SPLITS) or not all(
            is_whole(count, 1) and count <= _MOST_PHANTOMS for count in chosen.values()
        ):
            raise ConfigError(
                f"The phantom counts (data.counts) are {dict(counts)}; expected at least 1 for each of "
                f"{', '.join(SPLITS)}, and at most {_MOST_PHANTOMS}."
            )
        if not is_whole(image_size, 1) or not is_whole(seed, 0):
            raise ConfigError(
                f"The phantoms' size (data.image_size) is {image_size!r} and their seed (data.split_seed) {seed!r}; "
                "expected whole numbers, from 1 and from 0."
            )
        return PhantomSource(split, seed=seed, size=image_size, count=chosen[split])
    if root is None or not os.fspath(root):
        raise ConfigError(f"The data set {name} needs the folder its files are in (data.root).")
    cache_dir = Path(cache_dir) if cache_dir else default_cache_dir()
    if name == "folder":
        return load_folder(root, split, seed=seed, cache_dir=cache_dir)
    return load_published(PUBLISHED[name], root, split, cache_dir=cache_dir)


def default_cache_dir() -> Path:
    """ddim_jax in $XDG_CACHE_HOME, else in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ddim_jax"

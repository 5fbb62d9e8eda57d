"""The options of a data set, made of the section `data` of a config."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from ddim_jax.imageio.images import ReadOptions
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import ConfigError


class NoFolder(ConfigError):
    """The data set is one of files, and no folder is given."""


class DataOptions(NamedTuple):
    """The options of a data set, as the section `data` of a config has them; each data set takes those that it needs.

    Attributes:
      root: the folder the files are in; generated sets need none.
      seed: of the phantoms, and of a folder's split where it has none. The splits of published sets are fixed.
      image_size: side in pixels of the phantoms; the images of the others keep their own size.
      cache_dir: for indices and for splits that cannot be written beside the data; None for ddim_jax in the user's
        cache folder ($XDG_CACHE_HOME, else ~/.cache). A data set gets the folder.
      counts: number of phantoms in each split; None for 512, 64 and 64.
      groups: what stays together when the split of a folder is drawn, besides the slices of a volume and the images of
        a patient that the files name: "folder", the images of each first folder below images/; "none", nothing.
      folds: 3 or more: a folder is divided into so many folds, instead of by splits.csv; 0: it is not.
      fold: the fold that is held out, 0 .. folds - 1.
      read_only: write no split into a folder.
      labels: the classes of the masks; by default one, read by the level.
      reading: how images are read from files.
      annotators: of a folder, the names of two or more folders beside images/, each with one annotator's mask of every
        image; ("numbered",) for numbered names in masks/; () for one truth.
    """

    root: Path | None = None
    seed: int = 0
    image_size: int = 64
    cache_dir: Path | None = None
    counts: Mapping[str, int] | None = None
    groups: Literal["folder", "none"] = "folder"
    folds: int = 0
    fold: int = 0
    read_only: bool = False
    labels: Labels = Labels()
    reading: ReadOptions = ReadOptions()
    annotators: tuple[str, ...] = ()

    def folder(self, name: str) -> Path:
        """`root`, for the data set `name`.

        Raises:
          NoFolder: none was given.
        """
        if self.root is None:
            raise NoFolder(f"The data set {name} needs the folder its files are in (data.root).")
        return self.root

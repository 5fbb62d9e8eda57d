"""The options of data sets that are generated: how many images, of which size, from which seed."""

from typing import NamedTuple

from ddim_jax.data.options import DataOptions
from ddim_jax.data.sources import SPLITS
from ddim_jax.runtime.errors import ConfigError
from ddim_jax.runtime.values import is_whole

COUNTS = {"train": 512, "val": 64, "test": 64}
"""Images of each split, where `data.counts` does not say."""
MOST = 10**7
"""Images of a split."""


class Generated(NamedTuple):
    """The images of a split that is generated.

    Attributes:
      count: how many, 1 to `MOST`.
      size: height and width in pixels.
      seed: of the whole data set, at least 0.
    """

    count: int
    size: int
    seed: int

    @classmethod
    def of(cls, split: str, options: DataOptions, smallest: int = 1) -> "Generated":
        """The generated images of a split, as the options say.

        Raises:
          ConfigError: counts, size or seed cannot be used, or the size is below `smallest`.
        """
        counts = COUNTS | dict(options.counts or {})
        if set(counts) != set(SPLITS) or not all(is_whole(count, 1) and count <= MOST for count in counts.values()):
            raise ConfigError(
                f"data.counts is {dict(options.counts)}; expected 1 to {MOST} for each of {', '.join(SPLITS)}"
            )
        if not is_whole(options.image_size, smallest) or not is_whole(options.seed, 0):
            raise ConfigError(
                f"data.image_size is {options.image_size!r} and data.split_seed {options.seed!r}; expected whole "
                f"numbers, from {smallest} and from 0"
            )
        return cls(counts[split], options.image_size, options.seed)

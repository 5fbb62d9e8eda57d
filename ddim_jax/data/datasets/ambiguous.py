"""Generated images with known ambiguity: each has four true masks, of which an annotator draws one.

A disc has two borders, of its bright core and of its rim, and beside it lies a faint spot. An annotator takes the spot
for a part of the structure with probability `SPOT`, and draws the outer border with probability `OUTER`, one
independent of the other and of the image. So the distribution of the masks of every image is known, and whether a
sampler has learnt it can be counted.
"""

import numpy as np

from ddim_jax.data.generated import Generated
from ddim_jax.data.options import DataOptions
from ddim_jax.data.sources import SPLITS, Example, annotated
from ddim_jax.labels import Labels
from ddim_jax.registry import DATASETS
from ddim_jax.runtime.errors import ConfigError

SPOT, OUTER = 0.7, 0.4
"""The probabilities that an annotator counts the spot in, and draws the outer border."""
MODES = {
    "inner": (1 - SPOT) * (1 - OUTER),
    "outer": (1 - SPOT) * OUTER,
    "inner and spot": SPOT * (1 - OUTER),
    "outer and spot": SPOT * OUTER,
}
"""The masks of an image by name, with the probability that an annotator draws each."""
ANNOTATORS = 4


@DATASETS.register("ambiguous")
def load_ambiguous(split: str, options: DataOptions) -> "AmbiguousSource":
    """One split of the ambiguous phantoms: 512, 64 and 64 of them unless `options.counts` says otherwise.

    Raises:
      ConfigError: counts, size, seed or labels cannot be used, or there is a folder.
    """
    if options.root is not None or options.labels != Labels():
        raise ConfigError("the data set ambiguous has no files and one class; expected no data.root and no data.labels")
    return AmbiguousSource(split, **Generated.of(split, options, smallest=16)._asdict())


load_ambiguous.generated = True


class AmbiguousSource:
    """`count` generated images with four annotators; image i is a pure function of (split, seed, i, size).

    Args:
      split: train, val or test; images of different splits are independent.
      seed: of the whole data set, at least 0.
      size: height and width in pixels.
      count: number of images.
    """

    annotators = ANNOTATORS

    def __init__(self, split: str, *, seed: int, size: int, count: int):
        self.name, self.labels = "ambiguous", Labels()
        self.ids = tuple(f"{split}_{index:05d}" for index in range(count))
        self._split, self._seed, self._size = split, seed, size

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Example:
        image, modes, rng = self._draw(index)
        return annotated(self.ids[index], image, modes[rng.choice(len(MODES), ANNOTATORS, p=list(MODES.values()))])

    def modes(self, index: int) -> np.ndarray:
        """The masks that image `index` can have, uint8 [4, size, size], in the order of `MODES`."""
        return self._draw(index)[1]

    def _draw(self, index: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
        """The image, its modes, and a generator whose next numbers are for the annotators."""
        if not 0 <= index < len(self):
            raise IndexError(f"ambiguous {self._split} has {len(self)} images, got index {index}.")
        rng = np.random.default_rng([SPLITS.index(self._split), self._seed, index])
        y, x = (np.mgrid[: self._size, : self._size] + 0.5) / self._size
        cy, cx = 0.5 + rng.uniform(-0.03, 0.03, 2)
        radius, angle = rng.uniform(0.17, 0.195), rng.uniform(0, 2 * np.pi)
        away = 1.6 * radius + 0.04
        from_disc = np.hypot(y - cy, x - cx)
        outer, inner = from_disc < radius, from_disc < 0.7 * radius
        spot = np.hypot(y - cy - away * np.sin(angle), x - cx - away * np.cos(angle)) < 0.6 * radius
        grey = 0.3 + 0.25 * outer + 0.2 * inner + 0.15 * spot
        annotators = np.random.default_rng(rng.integers(2**63))  # the same, whatever the noise takes at a size
        grey = rng.uniform(0.85, 1.15) * grey + rng.uniform(-0.05, 0.05) + rng.normal(0, 0.03, grey.shape)
        image = np.repeat(np.round(np.clip(grey, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=-1)
        return image, np.stack([inner, outer, inner | spot, outer | spot]).astype(np.uint8), annotators

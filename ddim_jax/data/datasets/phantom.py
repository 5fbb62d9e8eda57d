"""Generated chest images with known lung masks: needs no download, learnable, not trivial.

Each image is drawn from continuous shapes (body, two lung fields cut by heart and diaphragm, ribs, spine, gas,
opacities, cables) on a unit square, so that image i shows the same anatomy at every size. What makes it more than a
threshold: gas in the stomach and folds beside the chest are as dark as a lung, opacities inside a lung as bright as
what surrounds it, brightness and contrast change from image to image, and everything is noisy.
"""

import numpy as np

from ddim_jax.data.generated import Generated
from ddim_jax.data.options import DataOptions
from ddim_jax.data.sources import SPLITS, Example
from ddim_jax.imageio.masks import mask_of_numbers
from ddim_jax.labels import Labels
from ddim_jax.registry import DATASETS
from ddim_jax.runtime.errors import ConfigError

_HEART_CONTRAST = 0.14  # of the classes: without, the heart ends in the mediastinum unseen


@DATASETS.register("phantom")
def load_phantom(split: str, options: DataOptions) -> "PhantomSource":
    """One split of the phantoms: 512, 64 and 64 of them unless `options.counts` says otherwise.

    Raises:
      ConfigError: counts, size or seed cannot be used, or there is a folder.
    """
    if options.root is not None:
        raise ConfigError(f"data.root is {options.root}, but phantoms have no files; data.name=folder reads a folder")
    return PhantomSource(split, **Generated.of(split, options)._asdict(), labels=options.labels)


load_phantom.generated = True


class PhantomSource:
    """`count` generated pairs; pair i is a pure function of (split, seed, i, size).

    Args:
      split: train, val or test; images of different splits are independent.
      seed: of the whole data set, at least 0.
      size: height and width in pixels.
      count: number of pairs.
      labels: the classes; where they have names, of the three structures of `draw_phantom`.
    """

    def __init__(self, split: str, *, seed: int, size: int, count: int, labels: Labels = Labels()):
        self.name, self.labels = "phantom", labels
        self.ids = tuple(f"{split}_{index:05d}" for index in range(count))
        self._split, self._seed, self._size = split, seed, size

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"phantom {self._split} has {len(self)} images, got index {index}.")
        classes = bool(self.labels.names)
        image, mask = draw_phantom(self._split, self._seed, index, self._size, classes=classes)
        if classes:
            mask = mask_of_numbers(mask, self.labels, name=self.ids[index])
        return Example(self.ids[index], image, mask)


def draw_phantom(
    split: str, seed: int, index: int, size: int, *, classes: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one pair.

    Args:
      split, seed, index: which one.
      size: side in pixels.
      classes: whether the mask is a label map of three structures; the heart can then be seen, a little brighter than
        what surrounds it.

    Returns:
      image uint8 [size, size, 3] (grey, three equal channels) and mask uint8 [size, size]: 1 both lungs; with `classes`
      1 the lung on the left of the image (the right lung, as films are viewed), 2 the other, 3 the heart.
    """
    rng = np.random.default_rng([SPLITS.index(split), seed, index])
    # Noise is drawn last, so that the anatomy is the same at every size.
    grey, mask = _scene(rng, _Canvas(size), classes)
    grey = _exposure(rng, grey, size)
    image = np.round(np.clip(grey, 0, 1) * 255).astype(np.uint8)
    return np.repeat(image[..., None], 3, axis=-1), mask.astype(np.uint8)


class _Canvas:
    """Pixel centres of the unit square, x to the right and y down, and shapes on it with edges one pixel soft."""

    def __init__(self, size: int):
        self.y, self.x = (np.mgrid[:size, :size] + 0.5) / size
        self.pixel = 1 / size

    def soft(self, distance: np.ndarray) -> np.ndarray:
        """1 where a signed distance is inside (negative), 0 outside, a ramp of a pixel between."""
        return np.clip(0.5 - distance / self.pixel, 0, 1)

    def ellipse(self, cy: float, cx: float, ry: float, rx: float, tilt: float = 0.0, power: float = 2.0) -> np.ndarray:
        """The approximate signed distance to a (super-)ellipse, negative inside; tilt in radians."""
        cos, sin = np.cos(tilt), np.sin(tilt)
        along, across = self.y - cy, self.x - cx
        v, u = (cos * along + sin * across) / ry, (cos * across - sin * along) / rx
        radius = (np.abs(u) ** power + np.abs(v) ** power) ** (1 / power)
        return (radius - 1) * min(ry, rx)


def _scene(rng: np.random.Generator, canvas: _Canvas, classes: bool) -> tuple[np.ndarray, np.ndarray]:
    middle = 0.5 + rng.uniform(-0.04, 0.04)
    top = rng.uniform(0.10, 0.18)
    body = canvas.soft(canvas.ellipse(0.62, middle, rng.uniform(0.58, 0.7), rng.uniform(0.43, 0.5), power=3.0))
    grey = 0.06 + 0.52 * body
    grey += 0.10 * body * np.exp(-(((canvas.x - middle) / rng.uniform(0.035, 0.06)) ** 2))

    fields = _lungs(rng, canvas, middle, top)
    heart = canvas.ellipse(
        rng.uniform(0.58, 0.66),
        middle + rng.uniform(0.05, 0.09),
        rng.uniform(0.13, 0.18),
        rng.uniform(0.09, 0.13),
        -0.5,
    )
    lungs = np.maximum(np.minimum(*fields), -heart)
    inside = canvas.soft(lungs)
    grey = grey * (1 - inside) + inside * (0.20 + rng.uniform(-0.03, 0.05))

    if classes:
        grey += _HEART_CONTRAST * canvas.soft(heart)
    for _ in range(rng.integers(0, 3)):
        grey += _opacity(rng, canvas, inside)
    grey += _ribs(rng, canvas, middle, top) * body
    for blob in _distractors(rng, canvas, middle):
        grey = grey * (1 - blob) + 0.17 * blob
    for _ in range(rng.integers(0, 3)):
        grey += 0.3 * _cable(rng, canvas)
    if not classes:
        return grey, lungs < 0
    nearer = np.where(fields[0] <= fields[1], 1, 2)
    return grey, np.where(heart < 0, 3, np.where(lungs < 0, nearer, 0))


def _lungs(rng: np.random.Generator, canvas: _Canvas, middle: float, top: float) -> list[np.ndarray]:
    """The signed distances to both lung fields, that on the left first, before the heart is taken away."""
    fields = []
    for side in (-1, 1):
        height = rng.uniform(0.27, 0.36)
        field = canvas.ellipse(
            top + height,
            middle + side * rng.uniform(0.175, 0.215),
            height,
            rng.uniform(0.105, 0.15),
            side * rng.uniform(0.0, 0.16),
            power=rng.uniform(2.0, 2.8),
        )
        # The dome of the diaphragm cuts the field from below.
        dome = canvas.ellipse(
            top + 2 * height + rng.uniform(0.02, 0.09),
            middle + side * 0.2,
            rng.uniform(0.12, 0.2),
            rng.uniform(0.2, 0.3),
        )
        fields.append(np.maximum(field, -dome))
    return fields


def _opacity(rng: np.random.Generator, canvas: _Canvas, inside: np.ndarray) -> np.ndarray:
    """A cloud inside the lungs, almost as bright as what surrounds them; the mask still counts it as lung."""
    cy, cx, radius = rng.uniform(0.25, 0.65), rng.uniform(0.2, 0.8), rng.uniform(0.03, 0.09)
    cloud = np.exp(-((canvas.y - cy) ** 2 + (canvas.x - cx) ** 2) / (2 * radius**2))
    return rng.uniform(0.1, 0.28) * cloud * inside


def _ribs(rng: np.random.Generator, canvas: _Canvas, middle: float, top: float) -> np.ndarray:
    spacing, bend, phase = rng.uniform(0.075, 0.105), rng.uniform(0.5, 1.1), rng.uniform(0, 1)
    from_spine = np.abs(canvas.x - middle)
    along = (canvas.y - top + 0.1 - bend * from_spine * (0.55 - from_spine)) / spacing + phase
    distance = np.abs(along - np.round(along)) * spacing
    bands = np.exp(-((distance / rng.uniform(0.012, 0.02)) ** 2))
    return rng.uniform(0.05, 0.12) * bands * (from_spine > 0.05) * (from_spine < 0.4)


def _distractors(rng: np.random.Generator, canvas: _Canvas, middle: float) -> list[np.ndarray]:
    """Dark places that are not lung: gas below the diaphragm and folds at the sides."""
    blobs = []
    for _ in range(rng.integers(0, 3)):
        centre = (rng.uniform(0.88, 0.97), middle + rng.uniform(-0.28, 0.28))
        blobs.append(canvas.ellipse(*centre, rng.uniform(0.02, 0.045), rng.uniform(0.03, 0.08), rng.uniform(-0.5, 0.5)))
    for side in (-1, 1):
        if rng.random() < 0.4:
            centre = (rng.uniform(0.2, 0.5), middle + side * rng.uniform(0.385, 0.42))
            blobs.append(canvas.ellipse(*centre, rng.uniform(0.04, 0.12), rng.uniform(0.012, 0.025), side * 0.2))
    return [0.9 * canvas.soft(blob) for blob in blobs]


def _cable(rng: np.random.Generator, canvas: _Canvas) -> np.ndarray:
    """A thin bright line across the chest, at least a pixel wide at any size."""
    angle, offset = rng.uniform(0, np.pi), rng.uniform(-0.25, 0.25)
    line = (canvas.y - 0.5) * np.cos(angle) + (canvas.x - 0.5) * np.sin(angle) - offset
    line = line + 0.03 * np.sin(2 * np.pi * rng.uniform(0.5, 1.5) * canvas.x + rng.uniform(0, 6))
    return canvas.soft(np.abs(line) - max(0.004, canvas.pixel / 2))


def _exposure(rng: np.random.Generator, grey: np.ndarray, size: int) -> np.ndarray:
    """Gain, gamma, shading, blur and noise, different for every image."""
    gamma, gain, lift = rng.uniform(0.75, 1.3), rng.uniform(0.85, 1.25), rng.uniform(-0.04, 0.08)
    tilt_y, tilt_x, blur, noise = (
        rng.uniform(-0.12, 0.12),
        rng.uniform(-0.12, 0.12),
        rng.uniform(0, 0.006),
        rng.random(),
    )
    grey = lift + gain * np.clip(grey, 0, 1) ** gamma
    ramp = (np.arange(size) + 0.5) / size - 0.5
    grey = grey + tilt_y * ramp[:, None] + tilt_x * ramp[None, :]
    from scipy import ndimage  # not at the head: few need it, and it takes long to import

    return ndimage.gaussian_filter(grey, blur * size) + rng.normal(0, 0.02 + 0.04 * noise, grey.shape)

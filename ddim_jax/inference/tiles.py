"""An image of any size in overlapping tiles of one size: where they lie, and how their results are blended."""

import numpy as np


def tile_starts(length: int, tile: int) -> list[int]:
    """The first pixels of the tiles along a side of `length` pixels: evenly spread, the first at 0, the last ending
    where the side ends, neighbours sharing half a tile or more. One where `length` is at most `tile`."""
    if length <= tile:
        return [0]
    steps = -(-(length - tile) // max(1, tile // 2))
    return [step * (length - tile) // steps for step in range(steps + 1)]


def tile_weights(tile: int) -> np.ndarray:
    """float32 [tile, tile] above 0: the part that each pixel of a tile has in the blend, falling to its borders."""
    along = np.minimum(np.arange(1, tile + 1), np.arange(tile, 0, -1)).astype(np.float32)
    return np.outer(along, along) / along.max() ** 2


class Blend:
    """The weighted mean of the tiles over an image; a pixel that one tile covers has the value of that tile.

    Args:
      shape: (H, W) of the image.
      tile: the side of a tile.
    """

    def __init__(self, shape: tuple[int, int], tile: int):
        self._shape, self._weights = shape, tile_weights(tile)
        self._total = np.zeros(shape, np.float32)
        self._sum: np.ndarray | None = None

    def add(self, values: np.ndarray, y: int, x: int) -> None:
        """Adds a tile [samples, tile, tile, ...] whose first pixel is (y, x) of the image."""
        if self._sum is None:
            self._sum = np.zeros((len(values), *self._shape, *values.shape[3:]), np.float32)
        tile = len(self._weights)
        place = slice(y, y + tile), slice(x, x + tile)
        weights = self._weights.reshape(tile, tile, *[1] * (values.ndim - 3))
        self._sum[:, *place] += values * weights
        self._total[place] += self._weights

    def result(self) -> np.ndarray:
        """float32 [samples, H, W, ...]; every pixel has to be covered."""
        self._sum /= self._total.reshape(*self._shape, *[1] * (self._sum.ndim - 3))
        return self._sum

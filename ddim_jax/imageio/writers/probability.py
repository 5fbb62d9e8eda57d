"""The probability as a 16-bit grey PNG: value x 65535, rounded; of several classes their maps side by side."""

import numpy as np
from PIL import Image

from ddim_jax.imageio.bands import bands
from ddim_jax.registry import WRITERS


@WRITERS.register("probability")
class Probability:
    suffix = ".png"
    title = "Probability"

    def write(self, path, result, image, source, context):
        maps = result.probability
        save_map(path, maps if maps.ndim == 2 else np.concatenate(np.moveaxis(maps, -1, 0), axis=1))


def save_map(path, values: np.ndarray) -> None:
    """Writes a float map [H, W] in [0, 1] as a 16-bit grey PNG.

    Raises:
      ValueError: it is no such map.
    """
    values = np.asarray(values)
    # Means of float32 values may pass 1 by a rounding error. With a NaN, the smallest is NaN.
    if values.ndim != 2 or not (values.min() >= -1e-5 and values.max() <= 1 + 1e-5):
        raise ValueError(f"A map must be [H, W] with values in [0, 1], got shape {values.shape}.")
    stored = np.empty(values.shape, np.uint16)
    for rows in bands(*values.shape):
        stored[rows] = np.round(np.clip(values[rows].astype(np.float64), 0, 1) * 65535)
    Image.fromarray(stored).save(path, format="PNG")

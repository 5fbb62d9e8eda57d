"""The standard deviation of the samples' probabilities as a 16-bit grey PNG: value x 65535, rounded."""

from ddim_jax.imageio.writers.probability import save_map
from ddim_jax.registry import WRITERS


@WRITERS.register("uncertainty")
class Uncertainty:
    suffix = ".png"
    title = "Uncertainty"

    def write(self, path, result, image, source, context):
        save_map(path, result.uncertainty)

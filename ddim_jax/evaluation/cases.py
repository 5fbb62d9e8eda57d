"""Which images of a data set are worth looking at, and what is kept of them for the figures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ddim_jax.aggregation import PROTOCOLS, ensemble_probability, sample_probabilities, uncertainty
from ddim_jax.data import Example
from ddim_jax.evaluation.scoring import ImageResult, protocol_mask
from ddim_jax.imageio.images import resize_image, resize_mask, resize_unit_map

# Longer side of the pictures kept for figures: panels are smaller, and a camera's own size would fill the memory.
_LONGER_SIDE = 512


@dataclass(frozen=True)
class Case:
    """One image of a figure. The maps may differ in size; each covers the whole picture.

    Attributes:
      result: its numbers.
      image: uint8 [H, W, 3], the picture in its own proportions, longer side at most 512.
      truth: uint8 [h, w] of 0 and 1, as it was scored.
      prediction: uint8 [h, w] of 0 and 1, the calibrated mask as it was scored.
      samples: float32 [S, s, t], each sample as a probability; s and t as the network had them, at most 512.
      probability: float32 [s, t], of the protocol 'mean' and the ensemble.
      uncertainty: float32 [s, t], the standard deviation of the samples.
      ensemble: how the samples were fused, one of `ddim_jax.registry.ENSEMBLES`.
    """

    result: ImageResult
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    samples: np.ndarray
    probability: np.ndarray
    uncertainty: np.ndarray
    ensemble: str

    @property
    def dice(self) -> float:
        """Of the protocol 'mean'."""
        return self.result.scores["mean"].dice


def make_case(example: Example, estimates: np.ndarray, result: ImageResult, ensemble: str = "mean") -> Case:
    """Keeps what the figures show of an image, its samples [S, h, w] (estimates of x_0) and its numbers."""
    height, width = example.image.shape[:2]
    shrink = min(1.0, _LONGER_SIDE / max(height, width))
    shape = (max(1, round(height * shrink)), max(1, round(width * shrink)))

    def shrunk(values: np.ndarray) -> np.ndarray:
        return values if max(values.shape) <= _LONGER_SIDE else resize_unit_map(values, shape)

    return Case(
        result=result,
        image=example.image if shrink == 1.0 else resize_image(example.image, shape),
        truth=resize_mask(example.mask, result.shape),
        prediction=protocol_mask(estimates, PROTOCOLS["mean"], result.shape, ensemble),
        samples=np.stack([shrunk(sample) for sample in sample_probabilities(estimates)]),
        probability=shrunk(ensemble_probability(estimates, PROTOCOLS["mean"], ensemble)),
        uncertainty=shrunk(uncertainty(estimates)),
        ensemble=ensemble,
    )


def rank(results: Sequence[ImageResult]) -> list[int]:
    """Positions in `results` from the lowest to the highest calibrated Dice; equal ones stay in order."""
    return sorted(range(len(results)), key=lambda position: results[position].scores["mean"].dice)


def spread(ranked: Sequence[int], count: int) -> list[int]:
    """At most `count` of `ranked`, evenly from the last (best) to the first (worst)."""
    places = np.linspace(len(ranked) - 1, 0, min(count, len(ranked))).round()
    return [ranked[int(place)] for place in places]


def middle(ranked: Sequence[int], count: int) -> list[int]:
    """The `count` positions about the median rank (all where there are fewer)."""
    start = max(0, (len(ranked) - count) // 2)
    return list(ranked[start : start + count])

"""The part of an image that figures are drawn from: images, maps, numbers, at most as large as a panel needs."""

from dataclasses import dataclass

import numpy as np

from ddim_jax.aggregation import PROTOCOLS, ensemble_probability, sample_probabilities, uncertainty
from ddim_jax.data import Example
from ddim_jax.evaluation.scoring import ImageResult, protocol_mask
from ddim_jax.labels import Labels
from ddim_jax.preprocessing import resize_image, resize_mask, resize_unit_map

_LONGER_SIDE = 512
"""Panels are smaller, and a camera's own size would fill the memory."""


@dataclass(frozen=True)
class Case:
    """One image of a figure. The maps may differ in size; each covers the whole image.

    Attributes:
      result: its numbers.
      image: uint8 [H, W, 3], the image in its own proportions, longer side at most 512.
      truth: uint8 [h, w] as `ddim_jax.labels` has it, as it was scored.
      prediction: uint8 [h, w], the mask of the protocol 'mean' as it was scored.
      samples: float32 [S, s, t], each sample as a probability; s and t as the network had them, at most 512; of several
        classes [S, s, t, K].
      probability: float32 [s, t] or [s, t, K], of the protocol 'mean' and the ensemble.
      uncertainty: float32 [s, t], the standard deviation of the samples.
      ensemble: the way the samples were fused, a name in `ddim_jax.registry.ENSEMBLES`.
      labels: the classes.
    """

    result: ImageResult
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    samples: np.ndarray
    probability: np.ndarray
    uncertainty: np.ndarray
    ensemble: str
    labels: Labels = Labels()

    @property
    def dice(self) -> float:
        """Dice of the protocol 'mean'."""
        return self.result.scores["mean"].dice


def make_case(
    example: Example,
    estimates: np.ndarray,
    result: ImageResult,
    ensemble: str = "mean",
    labels: Labels = Labels(),
) -> Case:
    """Keeps what the figures show of an image, its samples [S, h, w] (estimates of x_0) and its numbers."""
    height, width = example.image.shape[:2]
    shrink = min(1.0, _LONGER_SIDE / max(height, width))
    shape = (max(1, round(height * shrink)), max(1, round(width * shrink)))

    def shrunk(values: np.ndarray) -> np.ndarray:
        return values if max(values.shape[:2]) <= _LONGER_SIDE else resize_unit_map(values, shape)

    return Case(
        result=result,
        image=example.image if shrink == 1.0 else resize_image(example.image, shape),
        truth=resize_mask(example.mask, result.shape),
        prediction=protocol_mask(estimates, PROTOCOLS["mean"], result.shape, ensemble, labels),
        samples=np.stack([shrunk(sample) for sample in sample_probabilities(estimates)]),
        probability=shrunk(ensemble_probability(estimates, PROTOCOLS["mean"], ensemble, labels)),
        uncertainty=shrunk(uncertainty(estimates)),
        ensemble=ensemble,
        labels=labels,
    )

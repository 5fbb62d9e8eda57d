"""The numbers of one image: the same samples scored under every protocol."""

from typing import NamedTuple

import numpy as np

from ddim_jax.aggregation import (
    PROTOCOLS,
    Protocol,
    ensemble_probability,
    ensemble_threshold,
    mean_probability,
    threshold_mask,
    uncertainty,
)
from ddim_jax.metrics import (
    Calibration,
    Counts,
    calibration_sums,
    confusion_counts,
    dice,
    measure,
    soft_dice_uncertainty,
)
from ddim_jax.preprocessing import resize_unit_map


class Score(NamedTuple):
    """One image under one protocol.

    Attributes:
      counts: pixels of the ensemble's mask against the truth.
      measures: every registered metric by name, in the order of the names, with "dice_single": Dice of one sample alone
        under the same protocol, averaged over the samples.
    """

    counts: Counts
    measures: dict[str, float]

    @property
    def dice(self) -> float:
        """Dice of the ensemble's mask, in [0, 1]."""
        return self.measures["dice"]


class ImageResult(NamedTuple):
    """One image of the data set.

    Attributes:
      id: its name in the data set.
      shape: (H, W) at which it was scored.
      uncertainty: mean over the pixels of the standard deviation of the samples, at the working size, in [0, 0.5].
      doubt: about the mask of the protocol 'mean', by the mean of the samples' probabilities, at the working size, in
        [0, 1) (`ddim_jax.metrics.soft_dice_uncertainty`).
      calibration: of the pixels of the probability of the protocol 'mean', as it was scored.
      scores: by the name of the protocol.
    """

    id: str
    shape: tuple[int, int]
    uncertainty: float
    doubt: float
    calibration: Calibration
    scores: dict[str, Score]


def protocol_mask(
    samples: np.ndarray, protocol: Protocol, shape: tuple[int, int], ensemble: str = "mean"
) -> np.ndarray:
    """The mask that protocol and ensemble make of samples [S, h, w]: probability resized, then cut; uint8 [H, W]."""
    probability = resize_unit_map(ensemble_probability(samples, protocol, ensemble), shape)
    return threshold_mask(probability, ensemble_threshold(protocol, ensemble))


def score_image(name: str, samples: np.ndarray, truth: np.ndarray, ensemble: str = "mean") -> ImageResult:
    """Scores the samples of one image under every protocol; calibration and doubt are those of "mean".

    Args:
      name: the image's id.
      samples: float32 [S, h, w] estimates of x_0, about [-1, 1], unclipped.
      truth: uint8 [H, W] of 0 and 1. Where its size is not that of the samples, the probability is resized to it
        (bilinear) before it is cut.
      ensemble: the way the samples are fused, a name in `ddim_jax.registry.ENSEMBLES`.

    Raises:
      ValueError: the samples are not finite, or the truth holds other values.
    """
    scores, resized = {}, {}
    for protocol in PROTOCOLS.values():
        fused = ensemble_probability(samples, protocol, ensemble)
        if protocol.name == "mean":
            drawn = threshold_mask(fused, ensemble_threshold(protocol, ensemble))
            doubt = soft_dice_uncertainty(mean_probability(samples), drawn)
        probability = resized[protocol.name] = resize_unit_map(fused, truth.shape)
        mask = threshold_mask(probability, ensemble_threshold(protocol, ensemble))
        counts, measures = measure(mask, truth)
        singles = [
            dice(confusion_counts(protocol_mask(one[np.newaxis], protocol, truth.shape), truth)) for one in samples
        ]
        measures["dice_single"] = float(np.mean(singles))
        scores[protocol.name] = Score(counts, dict(sorted(measures.items())))
    return ImageResult(
        id=name,
        shape=(int(truth.shape[0]), int(truth.shape[1])),
        uncertainty=float(uncertainty(samples).mean(dtype=np.float64)),
        doubt=doubt,
        calibration=calibration_sums(resized["mean"], truth),
        scores=scores,
    )

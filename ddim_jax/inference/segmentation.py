"""From the samples of one image to its result."""

from typing import NamedTuple

import numpy as np

from ddim_jax.aggregation import PROTOCOLS, ensemble_probability, mean_probability, threshold_mask, uncertainty
from ddim_jax.metrics import soft_dice_uncertainty
from ddim_jax.preprocessing import resize_unit_map
from ddim_jax.sampling_options import SamplingOptions


class Segmentation(NamedTuple):
    """The result for one image, at the image's own size [H, W].

    Attributes:
      mask: uint8, 1 where the probability is above the threshold, else 0.
      probability: float32 in [0, 1], as the protocol and the ensemble define it.
      uncertainty: float32 in [0, 0.5], the standard deviation of the samples' probabilities; 0 with one sample.
      doubt: in [0, 1), the part of Dice that the mask is expected to miss (`ddim_jax.metrics.soft_dice_uncertainty`):
        the larger, the more a person should look at it. It is about the mask of this protocol, ensemble and threshold,
        by the mean of the samples' probabilities as the protocol 'mean' has them, both at the size the network worked
        at: the stretched probability of "paper" and the votes of few samples say nothing of how sure the network is.
    """

    mask: np.ndarray
    probability: np.ndarray
    uncertainty: np.ndarray
    doubt: float


def fuse(samples: np.ndarray, shape: tuple[int, int], options: SamplingOptions) -> Segmentation:
    """Turns the samples of one image into its result.

    Args:
      samples: float32 [S, h, w], estimates of x_0 at the size the network worked at.
      shape: (H, W) of the image; where it differs, probability and uncertainty are resized to it (bilinear) before the
        threshold is applied.
      options: checked; of these, protocol, ensemble and threshold.
    """
    fused = ensemble_probability(samples, PROTOCOLS[options.protocol], options.ensemble)
    probability = resize_unit_map(fused, shape)
    return Segmentation(
        mask=threshold_mask(probability, options.threshold),
        probability=probability,
        uncertainty=resize_unit_map(uncertainty(samples), shape),
        doubt=soft_dice_uncertainty(mean_probability(samples), threshold_mask(fused, options.threshold)),
    )

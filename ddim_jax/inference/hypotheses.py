"""Hypotheses: the whole masks that the samples of an image fall into, each with its weight."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ddim_jax.aggregation import PROTOCOLS, ensemble_probability, ensemble_threshold, threshold_mask
from ddim_jax.diffusion import DirectProcess
from ddim_jax.labels import Labels
from ddim_jax.metrics import overlaps
from ddim_jax.models import model_spec
from ddim_jax.preprocessing import resize_unit_map
from ddim_jax.registry import ENSEMBLES
from ddim_jax.sampling_options import SamplingOptions

ALIKE = 0.8
"""Samples are grouped by average linkage until no two groups have a mean IoU of this or more."""


class Hypothesis(NamedTuple):
    """A group of samples that are alike.

    Attributes:
      mask: uint8 [H, W] as of `Segmentation`, that of one sample, which is the nearest to the others of its group: a
        mean of masks need not be a mask that anybody would draw.
      weight: the share of the samples that are in the group, in (0, 1]; those of an image add up to 1.
      samples: the numbers of the samples in the group, from 0.
    """

    mask: np.ndarray
    weight: float
    samples: tuple[int, ...]


def why_no_opinions(config: Mapping[str, Any], training_data: Mapping[str, Any], options: SamplingOptions) -> str:
    """The reasons why the samples of a checkpoint are hardly more than one mask and noise; "" where none is known.

    Args:
      config: of the checkpoint.
      training_data: what it says of the images that it was trained on.
      options: checked.
    """
    name = config["model"]["name"]
    process = model_spec(name).process
    one_pass = issubclass(process, DirectProcess)
    if one_pass and not process.uses_noise:
        return f"{name} gives one mask of an image, whatever the noise: train a denoiser or stochastic_unet"
    data, reasons = config["data"], []
    annotators = training_data.get("annotators")
    if annotators is None and data["name"] == "folder":  # a checkpoint of before that was written down
        annotators = len(data["annotators"])
    if annotators == 0:
        reasons.append("it was trained on one mask of each image (data.annotators)")
    if config["diffusion"].get("loss") == "bce_dice":
        reasons.append("diffusion.loss=bce_dice favours the likeliest mask")
    if options.steps == 1 and not one_pass:
        reasons.append("one step gives a mean of masks: --sampler ddpm with 20 steps or more")
    return "; ".join(reasons)


def hypotheses_of(
    samples: np.ndarray, shape: tuple[int, int], options: SamplingOptions, labels: Labels = Labels()
) -> tuple[Hypothesis, ...]:
    """The hypotheses of an image, the heaviest first; of equal weight, that with the first sample.

    Each sample makes a mask by itself under the protocol of `options`, cut at their threshold; at the protocol's, where
    theirs is of the votes of an ensemble of masks. Of several classes the IoU of two masks is the
    mean over the classes; two empty masks have 1.

    Args:
      samples: float32 [S, h, w], of several classes [S, h, w, K]: estimates of x_0.
      shape: (H, W) of the image; the masks are compared at the size of the samples.
      options: checked; of these, the protocol, the ensemble and the threshold.
      labels: the classes.
    """
    protocol = PROTOCOLS[options.protocol]
    # One that has its own threshold cuts votes; what votes are the masks of the protocol.
    votes = hasattr(ENSEMBLES.get(options.ensemble), "threshold")
    threshold = ensemble_threshold(protocol, labels=labels) if votes else options.threshold
    maps = [ensemble_probability(one[np.newaxis], protocol, labels=labels) for one in samples]
    masks = np.stack([threshold_mask(one, threshold, labels) for one in maps])
    of_classes = (labels.of_class(masks, number) for number in range(1, labels.count + 1))
    iou = np.mean([overlaps(own, own)[0] for own in of_classes], axis=0)
    found = []
    for group in _groups(iou):
        medoid = group[int(iou[np.ix_(group, group)].sum(axis=1).argmax())]
        mask = threshold_mask(resize_unit_map(maps[medoid], shape), threshold, labels)
        found.append(Hypothesis(mask, len(group) / len(samples), tuple(group)))
    return tuple(sorted(found, key=lambda one: (-one.weight, one.samples[0])))


def _groups(iou: np.ndarray) -> list[list[int]]:
    """The numbers of the masks in each group, ascending."""
    if len(iou) == 1:
        return [[0]]
    from scipy.cluster import hierarchy  # not at the head: few need it, and it takes long to import
    from scipy.spatial.distance import squareform

    distance = squareform(np.maximum(1 - iou, 0), checks=False)
    numbers = hierarchy.fcluster(hierarchy.linkage(distance, "average"), 1 - ALIKE, criterion="distance")
    return [np.flatnonzero(numbers == number).tolist() for number in np.unique(numbers)]

"""Scores of several masks of one image against the masks of several annotators.

A metric that is registered (`@register.hypothesis_metric("name")`) is a function of the N hypotheses and the A
annotators' masks, (uint8 [N, H, W], uint8 [A, H, W]) -> float. N is part of what it measures, so it is in the name:
`measure_hypotheses` gives "ged_16" for 16 hypotheses. Two empty masks agree: their IoU and their Dice are 1.
"""

import math

import numpy as np

from ddim_jax.labels import IGNORED, Labels
from ddim_jax.metrics.registered import value_of
from ddim_jax.registry import HYPOTHESIS_METRICS

_PIXELS_AT_ONCE = 2**20  # float32 counts up to 2^24 exactly


def measure_hypotheses(hypotheses: np.ndarray, annotators: np.ndarray, labels: Labels = Labels()) -> dict[str, float]:
    """Every registered metric by name, with the number of hypotheses: {"ged_16": ..., ...}.

    Args:
      hypotheses: uint8 [N, H, W] as `ddim_jax.labels` has it.
      annotators: uint8 [A, H, W], the same. Pixels that any of them ignores are background in all masks.
      labels: the classes; of several, each metric is the mean over the classes.

    Raises:
      ValueError: there is no mask, or they differ in size.
      ConfigError: as `value_of`.
    """
    if labels.ignore:
        counts = (annotators != IGNORED).all(axis=0)
        hypotheses, annotators = hypotheses * counts, annotators * counts
    pairs = [
        [labels.of_class(masks, number).astype(np.uint8) for masks in (hypotheses, annotators)]
        for number in range(1, labels.count + 1)
    ]
    return {
        f"{name}_{len(hypotheses)}": float(np.mean([value_of(name, metric, *pair) for pair in pairs]))
        for name, metric in HYPOTHESIS_METRICS.items()
    }


def overlaps(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """IoU and Dice of each mask with each other, both float64 [N, M]; 1 where both masks are empty.

    Args:
      first: [N, H, W] of 0 and 1 (or boolean), at least one mask.
      second: [M, H, W], the same.

    Raises:
      ValueError: they are no such masks, or differ in size.
    """
    sizes = np.shape(first)[1:], np.shape(second)[1:]
    first, second = _flat(first), _flat(second)
    if sizes[0] != sizes[1]:
        raise ValueError(f"masks must have one size; found {sizes[0]} and {sizes[1]}")
    both = np.zeros((len(first), len(second)))
    for start in range(0, first.shape[1], _PIXELS_AT_ONCE):
        part = slice(start, start + _PIXELS_AT_ONCE)
        both += first[:, part].astype(np.float32) @ second[:, part].astype(np.float32).T
    sums = first.sum(axis=1, dtype=np.int64)[:, None] + second.sum(axis=1, dtype=np.int64)[None, :]
    empty = sums == 0
    iou = np.where(empty, 1.0, both / np.where(empty, 1, sums - both))
    return iou, np.where(empty, 1.0, 2 * both / np.where(empty, 1, sums))


@HYPOTHESIS_METRICS.register("ged")
def ged(hypotheses: np.ndarray, annotators: np.ndarray) -> float:
    """The generalised energy distance, squared, >= 0: 2 E d(S, Y) - E d(S, S') - E d(Y, Y') with d = 1 - IoU.

    The means are over all pairs, those of a mask with itself among them (Kohl et al. 2018, arXiv 1806.05034). 0 where
    hypotheses and annotators are the same masks in the same shares. Two empty masks: IoU 1.
    """
    across, within, truth = (
        1 - overlaps(*pair)[0].mean()
        for pair in ((hypotheses, annotators), (hypotheses, hypotheses), (annotators, annotators))
    )
    return max(0.0, 2 * across - within - truth)  # roundings alone bring it below 0


@HYPOTHESIS_METRICS.register("matched_iou")
def matched_iou(hypotheses: np.ndarray, annotators: np.ndarray) -> float:
    """Hungarian-matched IoU in [0, 1]: the mean IoU of the best one-to-one assignment of hypotheses to annotators.

    Both are repeated to the least common multiple of their numbers (Kohl et al. 2019, arXiv 1905.13077). Two empty
    masks: IoU 1.
    """
    from scipy.optimize import linear_sum_assignment  # not at the head: few need it, and it takes long to import

    iou, _ = overlaps(hypotheses, annotators)
    common = math.lcm(*iou.shape)
    repeated = np.repeat(np.repeat(iou, common // iou.shape[0], axis=0), common // iou.shape[1], axis=1)
    return float(repeated[linear_sum_assignment(repeated, maximize=True)].mean())


@HYPOTHESIS_METRICS.register("d_max")
def d_max(hypotheses: np.ndarray, annotators: np.ndarray) -> float:
    """D-max in [0, 1]: for each annotator the Dice of the nearest hypothesis, averaged over the annotators.

    The maximum Dice matching of Rahman et al. 2023 (arXiv 2304.04745). It grows with the number of hypotheses, however
    they are distributed. Two empty masks: Dice 1.
    """
    return float(overlaps(hypotheses, annotators)[1].max(axis=0).mean())


@HYPOTHESIS_METRICS.register("best_dice")
def best_dice(hypotheses: np.ndarray, annotators: np.ndarray) -> float:
    """Best of N in [0, 1]: the mean Dice with the annotators of that one hypothesis whose mean is the highest.

    It says what a person gains who picks one of N masks. Two empty masks: Dice 1.
    """
    return float(overlaps(hypotheses, annotators)[1].mean(axis=1).max())


def _flat(masks: np.ndarray) -> np.ndarray:
    masks = np.asarray(masks)
    if masks.ndim != 3 or masks.size == 0 or not ((masks == 0) | (masks == 1)).all():
        raise ValueError(f"masks must be [N, H, W] of 0 and 1 with at least one mask; found shape {masks.shape}")
    return masks.reshape(len(masks), -1)

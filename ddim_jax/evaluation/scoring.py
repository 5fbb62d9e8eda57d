"""The numbers of one image: the same samples scored under every protocol."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
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
from ddim_jax.data import Example, Volume
from ddim_jax.labels import Labels
from ddim_jax.metrics import (
    Calibration,
    Counts,
    DoubtScale,
    Statement,
    calibration_of_classes,
    class_counts,
    class_doubts,
    class_statements,
    dice,
    drawn_classes,
    logit_counts_of_classes,
    measure_classes,
    measure_hypotheses,
)
from ddim_jax.preprocessing import resize_unit_map
from ddim_jax.runtime.errors import DataError


class Score(NamedTuple):
    """One image under one protocol.

    Attributes:
      counts: pixels of the ensemble's mask against the truth.
      measures: every registered metric by name, in the order of the names, those in mm where the size of a pixel is
        known, and "dice_single": Dice of one sample alone under the same protocol, averaged over the samples.
      classes: of several classes the score of each by its name; the counts are then their sum and the measures their
        mean. Empty for one class.
    """

    counts: Counts
    measures: dict[str, float]
    classes: Mapping[str, "Score"] = MappingProxyType({})

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
        [0, 1): the mean of the classes' (`ddim_jax.metrics.class_doubts`), scaled as a calibration has it.
      calibration: of the pixels of the probability of the protocol 'mean', as it was scored; one for each class.
      scores: by the name of the protocol.
      drawn: for each class, if its mask under that protocol has a pixel at the working size, ignored ones included.
      statements: all that the network says of each class under the protocol 'mean', as it was scored.
      logits: of the pixels of that probability (`ddim_jax.metrics.temperature.logit_counts`), of all classes.
      hypotheses: `ddim_jax.metrics.measure_hypotheses` of the masks that the samples make alone under the protocol
        'mean', against several annotators; {} where there is one truth.
      annotators: their number, 0 where there is one truth.
      descriptor: of the image (`ddim_jax.inference.unlikeness.describe_image`); None where nothing is known of it.
      digest: of the image (`ddim_jax.data.facts.image_digest`), in hexadecimal digits; "" where it is not known.
      group: of images that are not drawn one by one, such as those of a patient; "" for one by itself.
      volume: that it is a slice of; None for an image by itself.
    """

    id: str
    shape: tuple[int, int]
    uncertainty: float
    doubt: float
    calibration: list[Calibration]
    scores: dict[str, Score]
    drawn: list[bool]
    statements: list[Statement]
    logits: np.ndarray
    hypotheses: Mapping[str, float] = MappingProxyType({})
    annotators: int = 0
    descriptor: np.ndarray | None = None
    digest: str = ""
    group: str = ""
    volume: Volume | None = None


def groups_of_results(results: Sequence[ImageResult]) -> list[str]:
    """The group of each of them, for intervals."""
    return [result.group or result.id for result in results]


def protocol_mask(
    samples: np.ndarray,
    protocol: Protocol,
    shape: tuple[int, int],
    ensemble: str = "mean",
    labels: Labels = Labels(),
) -> np.ndarray:
    """The mask that protocol and ensemble make of samples [S, h, w]: probability resized, then cut; uint8 [H, W]."""
    probability = resize_unit_map(ensemble_probability(samples, protocol, ensemble, labels), shape)
    return threshold_mask(probability, ensemble_threshold(protocol, ensemble, labels), labels)


class Scoring(NamedTuple):
    """The way images are scored, the same for all of an evaluation.

    Attributes:
      ensemble: the way the samples are fused, a name in `ddim_jax.registry.ENSEMBLES`.
      labels: the classes.
      coverage: decides the levels of the probability that make the interval of an area that is not calibrated.
      doubt_scale: that of a calibration; None for the doubt as the network has it.
    """

    ensemble: str = "mean"
    labels: Labels = Labels()
    coverage: float = 0.9
    doubt_scale: DoubtScale | None = None


def score_image(example: Example, samples: np.ndarray, scoring: Scoring = Scoring()) -> ImageResult:
    """Scores the samples of one image under every protocol; calibration and doubt are those of "mean".

    Args:
      example: the pair; where the size of its masks is not that of the samples, the probability is resized to it
        (bilinear) before it is cut. Without `pixel_mm` metrics in millimetres are left out. The image is not read.
      samples: float32 [S, h, w] estimates of x_0, about [-1, 1], unclipped; of several classes [S, h, w, K].
      scoring: the way it is scored.

    Raises:
      ValueError: the samples are not finite, or the truth holds other values.
      DataError: no pixel of the truth counts.
    """
    truth, annotators, labels = example.mask, example.annotators, scoring.labels
    if not labels.valid(truth).any():
        raise DataError(f"{example.id}: no pixel of its true mask counts, so there is nothing to score")
    scores, resized, hypotheses = {}, {}, {}
    for protocol in PROTOCOLS.values():
        fused = ensemble_probability(samples, protocol, scoring.ensemble, labels)
        threshold = ensemble_threshold(protocol, scoring.ensemble, labels)
        if protocol.name == "mean":
            working = threshold_mask(fused, threshold, labels)  # the doubt is about the mask before it is resized
            doubts, drawn = class_doubts(mean_probability(samples), working, labels), drawn_classes(working, labels)
        probability = resized[protocol.name] = resize_unit_map(fused, truth.shape)
        mask = threshold_mask(probability, threshold, labels)
        alone = [protocol_mask(one[np.newaxis], protocol, truth.shape, labels=labels) for one in samples]
        scores[protocol.name] = _score(mask, alone, truth, labels, example.pixel_mm)
        if protocol.name == "mean":
            statements = class_statements(probability, mask, doubts, scoring.coverage, labels, labels.valid(truth))
            scale = scoring.doubt_scale
            doubt = float(np.mean(doubts)) if scale is None else scale.of_image(doubts, drawn)
            if annotators is not None:
                hypotheses = measure_hypotheses(np.stack(alone), annotators, labels)
    return ImageResult(
        id=example.id,
        shape=(int(truth.shape[0]), int(truth.shape[1])),
        uncertainty=float(uncertainty(samples).mean(dtype=np.float64)),
        doubt=doubt,
        calibration=calibration_of_classes(resized["mean"], truth, labels),
        scores=scores,
        drawn=drawn,
        statements=statements,
        logits=logit_counts_of_classes(resized["mean"], truth, labels),
        hypotheses=hypotheses,
        annotators=0 if annotators is None else len(annotators),
    )


def _score(
    mask: np.ndarray,
    alone: Sequence[np.ndarray],
    truth: np.ndarray,
    labels: Labels,
    pixel_mm: tuple[float, float] | None,
) -> Score:
    """The score of a mask, and of the masks that single samples make alone."""
    singles = [[dice(counts) for counts in class_counts(one, truth, labels)] for one in alone]
    scores = []
    for (counts, measures), single in zip(
        measure_classes(mask, truth, labels, pixel_mm), zip(*singles, strict=True), strict=True
    ):
        scores.append(Score(counts, dict(sorted({**measures, "dice_single": float(np.mean(single))}.items()))))
    if not labels.several:
        return scores[0]
    means = {name: float(np.mean([score.measures[name] for score in scores])) for name in scores[0].measures}
    counts = sum((score.counts for score in scores), Counts(0, 0, 0, 0))
    return Score(counts, means, dict(zip(labels.class_names, scores, strict=True)))

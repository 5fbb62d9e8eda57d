"""Scores of masks of several classes, and of those with ignored pixels: each class by itself against the rest."""

from collections.abc import Iterator

import numpy as np

from ddim_jax.labels import IGNORED, Labels
from ddim_jax.metrics.calibration import BINS, Calibration, calibration_sums
from ddim_jax.metrics.doubt import soft_dice_uncertainty
from ddim_jax.metrics.overlap import Counts, confusion_counts
from ddim_jax.metrics.registered import measure
from ddim_jax.metrics.temperature import logit_counts
from ddim_jax.runtime.errors import ConfigError


def class_counts(prediction: np.ndarray, truth: np.ndarray, labels: Labels = Labels()) -> list[Counts]:
    """The pixel counts of each class, of the pixels that count.

    Args:
      prediction: uint8 [H, W] as `ddim_jax.labels` has it.
      truth: the same; its ignored pixels are in no count.
      labels: the classes.

    Raises:
      ValueError: the masks differ in size or hold other values.
    """
    ignored = _ignored(truth, labels)
    counts = (confusion_counts(*pair) for pair in _pairs(prediction, truth, labels))
    return [one._replace(true_negative=one.true_negative - ignored) for one in counts]


def measure_classes(
    prediction: np.ndarray,
    truth: np.ndarray,
    labels: Labels = Labels(),
    pixel_mm: tuple[float, float] | None = None,
) -> list[tuple[Counts, dict[str, float]]]:
    """The pixel counts of each class and every registered metric by name; arguments and errors as `class_counts`.

    Metrics of two masks see ignored pixels as background in both. `pixel_mm` as `ddim_jax.metrics.registered.measure`;
    of several classes its errors name the class.
    """
    ignored, found = _ignored(truth, labels), []
    for name, pair in zip(labels.class_names, _pairs(prediction, truth, labels), strict=True):
        try:
            found.append(measure(*pair, ignored=ignored, pixel_mm=pixel_mm))
        except ConfigError as error:
            if not labels.several:
                raise
            raise ConfigError(f"{name}: {error}") from error
    return found


def calibration_of_classes(probability: np.ndarray, truth: np.ndarray, labels: Labels = Labels()) -> list[Calibration]:
    """The calibration of each class's probability against all else, over the pixels that count.

    Args:
      probability: [H, W] in [0, 1], of several classes [H, W, K].
      truth: uint8 [H, W] as `ddim_jax.labels` has it.
      labels: the classes.

    Raises:
      ValueError: as `calibration_sums`.
    """
    pairs = zip(labels.maps(probability), _truths(truth, labels), strict=True)
    if not labels.ignore:
        return [calibration_sums(values, inside) for values, inside in pairs]
    valid = labels.valid(truth)  # as maps of one row
    if not valid.any():
        return [Calibration(np.zeros(BINS, np.int64), np.zeros(BINS), np.zeros(BINS, np.int64))] * labels.count
    return [calibration_sums(values[valid][np.newaxis], inside[valid][np.newaxis]) for values, inside in pairs]


def logit_counts_of_classes(probability: np.ndarray, truth: np.ndarray, labels: Labels = Labels()) -> np.ndarray:
    """The `logit_counts` of each class against all else, added up, over the pixels that count; arguments as
    `calibration_of_classes`."""
    valid = labels.valid(truth)
    return sum(
        logit_counts(values[valid], labels.of_class(truth, number)[valid])
        for number, values in enumerate(labels.maps(probability), start=1)
    )


def class_doubts(probability: np.ndarray, mask: np.ndarray, labels: Labels = Labels()) -> list[float]:
    """The `soft_dice_uncertainty` of the mask of each class.

    Args:
      probability: [h, w] in [0, 1], of several classes [h, w, K].
      mask: uint8 [h, w] as `ddim_jax.labels` has it, what was made of it.
      labels: the classes.
    """
    return [
        soft_dice_uncertainty(values, labels.of_class(mask, number))
        for number, values in enumerate(labels.maps(probability), start=1)
    ]


def drawn_classes(mask: np.ndarray, labels: Labels = Labels()) -> list[bool]:
    """For each class, if it has a pixel in a mask uint8 [h, w] as `ddim_jax.labels` has it."""
    return [bool(labels.of_class(mask, number).any()) for number in range(1, labels.count + 1)]


def _pairs(prediction: np.ndarray, truth: np.ndarray, labels: Labels) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if prediction.shape != truth.shape:
        raise ValueError(
            f"prediction and truth must be two masks [H, W] of one size; found {prediction.shape} and {truth.shape}"
        )
    if labels.several or labels.ignore:  # else whoever counts them refuses other values
        most = 2**labels.count - 1 if labels.multilabel else labels.count
        for name, mask in (("prediction", prediction), ("truth", truth)):
            odd = (mask > most) & ((mask != IGNORED) | (not labels.ignore))
            if odd.any():
                ignored = f", or {IGNORED} where a pixel is ignored" if labels.ignore else ""
                raise ValueError(f"{name} holds {int(mask[odd].max())}; expected values from 0 to {most}{ignored}")
    for number, inside in enumerate(_truths(truth, labels), start=1):
        drawn = labels.of_class(prediction, number) if labels.several else prediction
        yield (drawn & labels.valid(truth) if labels.ignore else drawn), inside


def _truths(truth: np.ndarray, labels: Labels) -> list[np.ndarray]:
    """The pixels of each class in the truth."""
    if not labels.several and not labels.ignore:
        return [truth]
    return [labels.of_class(truth, number) for number in range(1, labels.count + 1)]


def _ignored(truth: np.ndarray, labels: Labels) -> int:
    return int(np.count_nonzero(~labels.valid(truth))) if labels.ignore else 0

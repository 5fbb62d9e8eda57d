"""The samples of one image fused into one probability map, under a protocol and by a registered ensemble."""

import functools
from collections.abc import Callable

import numpy as np

from ddim_jax.aggregation.fusion import check_samples
from ddim_jax.aggregation.protocols import Protocol, threshold_mask
from ddim_jax.labels import Labels
from ddim_jax.registry import ENSEMBLES, not_called_as
from ddim_jax.runtime.errors import ConfigError

_ROUNDING = 1e-5


def of_masks(fuse: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray, Protocol], np.ndarray]:
    """A decorator: makes an ensemble of a function of masks, uint8 [S, h, w] of 0 and 1 -> probability [h, w].

    The protocol makes a mask of each sample by itself, with its own threshold. The result is cut at 0.5. Of several
    classes `fuse` has those of each class by itself, which of exclusive ones do not overlap.

    Raises:
      ConfigError: `fuse` cannot be called with masks alone.
    """
    if wrong := not_called_as("masks", fuse):
        raise ConfigError(f"{fuse!r}, an ensemble of masks, {wrong}")

    @functools.wraps(fuse)
    def ensemble(samples: np.ndarray, protocol: Protocol) -> np.ndarray:
        masks = [threshold_mask(protocol.probability(one[np.newaxis]), protocol.threshold) for one in samples]
        return fuse(np.stack(masks))

    del ensemble.__wrapped__  # which takes other arguments
    ensemble.threshold, ensemble.of_masks = 0.5, fuse
    return ensemble


def ensemble_probability(
    samples: np.ndarray, protocol: Protocol, ensemble: str = "mean", labels: Labels = Labels()
) -> np.ndarray:
    """Fuses the samples of an image; of several classes each by itself, against the rest.

    The docstring of each function in `ddim_jax.aggregation.ensembles` says how. For those of masks, the mask of a
    sample of exclusive classes has the likeliest of them and the background, as `threshold_mask` makes it; where their
    probabilities, each found against the rest, sum to more than 1 (STAPLE), they are divided by their sum.

    Args:
      samples: [S, h, w] estimates of x_0, about [-1, 1] and unclipped; of several classes [S, h, w, K].
      protocol: one of `PROTOCOLS`.
      ensemble: a name in `ddim_jax.registry.ENSEMBLES`.
      labels: the classes.

    Returns:
      float32 [h, w] or [h, w, K] in [0, 1]; cut it at `ensemble_threshold`. Those of exclusive classes sum to at most
      1, as those of each sample do; but for the protocol "paper" without masks, which stretches each class by itself.

    Raises:
      ValueError: no sample, another shape, or a value that is not finite.
      ConfigError: an unknown ensemble, or one that gives no such probability.
    """
    samples, fuse = check_samples(samples), ENSEMBLES.get(ensemble)
    if labels.exclusive and hasattr(fuse, "of_masks"):
        threshold, masks = ensemble_threshold(protocol, labels=labels), []
        for one in samples:
            probability = [protocol.probability(one[np.newaxis, ..., k]) for k in range(labels.count)]
            masks.append(threshold_mask(np.stack(probability, axis=-1), threshold, labels))
        votes = np.stack(masks)
        fused = [fuse.of_masks((votes == k).astype(np.uint8)) for k in range(1, labels.count + 1)]
        fused = np.stack([_probability(one, votes.shape[1:], ensemble) for one in fused], axis=-1)
        return (fused / np.maximum(1, fused.sum(axis=-1, keepdims=True))).astype(np.float32)
    if samples.ndim == 4:
        return np.stack([ensemble_probability(one, protocol, ensemble) for one in np.moveaxis(samples, -1, 0)], axis=-1)
    return _probability(fuse(samples, protocol), samples.shape[1:], ensemble)


def _probability(fused: np.ndarray, shape: tuple[int, ...], ensemble: str) -> np.ndarray:
    """The result of an ensemble as float32; what roundings take out of [0, 1] is brought back.

    Raises:
      ConfigError: it has another shape, or values beyond that, or that are no numbers.
    """
    fused = np.asarray(fused, np.float32)
    if fused.shape != shape:
        raise ConfigError(
            f"the ensemble {ensemble!r} gives the shape {list(fused.shape)}; expected {list(shape)}, as a sample has it"
        )
    low, high = float(fused.min()), float(fused.max())  # both NaN where one value is
    if not (low >= -_ROUNDING and high <= 1.0 + _ROUNDING):
        raise ConfigError(f"the ensemble {ensemble!r} gives values from {low:g} to {high:g}; expected 0 to 1")
    return fused if low >= 0.0 and high <= 1.0 else fused.clip(0.0, 1.0)


def ensemble_threshold(protocol: Protocol, ensemble: str = "mean", labels: Labels = Labels()) -> float | None:
    """Returns where `ensemble_probability` is cut: the protocol's threshold, but 0.5 for an ensemble of masks.

    Pixels strictly above it are foreground, so that half of the votes are not a majority. None for exclusive classes
    where that is 0.5: in the place of what is more likely than not comes the likeliest.

    Raises:
      ConfigError: an unknown ensemble.
    """
    threshold = getattr(ENSEMBLES.get(ensemble), "threshold", protocol.threshold)
    return None if labels.exclusive and threshold == 0.5 else threshold

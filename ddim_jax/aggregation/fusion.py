"""Several samples of one mask become one probability map and one map of their disagreement."""

import numpy as np


def check_samples(samples: np.ndarray) -> np.ndarray:
    """The samples as float32 [S, h, w] or, of several classes, [S, h, w, K].

    Raises:
      ValueError: no sample, another shape, or a value that is not finite.
    """
    samples = np.asarray(samples, np.float32)
    if samples.ndim not in (3, 4) or samples.size == 0:
        raise ValueError(f"samples must have the shape [samples, h, w] with at least one sample; found {samples.shape}")
    if not np.isfinite(samples).all():
        raise ValueError("samples must be finite; found NaN or infinity")
    return samples


def mean_sample(samples: np.ndarray) -> np.ndarray:
    """The plain mean of the samples.

    Args:
      samples: [S, h, w] estimates of x_0, about [-1, 1] and unclipped.

    Returns:
      float32 [h, w], added up in float64.

    Raises:
      ValueError: no sample, another shape, or a value that is not finite.
    """
    return check_samples(samples).mean(axis=0, dtype=np.float64).astype(np.float32)


def sample_probabilities(samples: np.ndarray) -> np.ndarray:
    """Each sample as a map of foreground probability: clipped to [-1, 1], then moved to [0, 1].

    Args:
      samples: [S, h, w] estimates of x_0, about [-1, 1] and unclipped; of several classes [S, h, w, K].

    Returns:
      float32 in [0, 1], of the same shape.

    Raises:
      ValueError: no sample, another shape, or a value that is not finite.
    """
    return (np.clip(check_samples(samples), -1.0, 1.0) + 1.0) / 2.0


def mean_probability(samples: np.ndarray) -> np.ndarray:
    """The mean of `sample_probabilities` over the samples: float32 [h, w] or [h, w, K]; raises as they do."""
    return sample_probabilities(samples).mean(axis=0, dtype=np.float64).astype(np.float32)


def uncertainty(samples: np.ndarray) -> np.ndarray:
    """The disagreement of the samples: the pixel-wise standard deviation of `sample_probabilities`.

    The population standard deviation (divided by S, not S - 1), so one sample gives 0 everywhere and the largest
    possible value is 0.5, half of the samples saying foreground and half saying background.

    Args:
      samples: [S, h, w] estimates of x_0, about [-1, 1] and unclipped; of several classes [S, h, w, K].

    Returns:
      float32 [h, w] in [0, 0.5]; of several classes the largest.

    Raises:
      ValueError: no sample, another shape, or a value that is not finite.
    """
    spread = sample_probabilities(samples).std(axis=0, dtype=np.float64).astype(np.float32)
    return spread if spread.ndim == 2 else spread.max(axis=-1)

"""The bootstrap interval of a mean over the images of a data set."""

from collections.abc import Sequence

import numpy as np

RESAMPLES, SEED = 2000, 0


def bootstrap_interval(
    values: np.ndarray,
    groups: Sequence[str] | None = None,
    *,
    seed: int = SEED,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean (Efron and Tibshirani 1993, chapter 13).

    The images are drawn with replacement `resamples` times, and the interval holds the middle `level` of the means. It
    says how much the mean depends on which images were in the set; it knows nothing of other hospitals or other
    training runs. Images of one patient are like each other, so whole groups are drawn (Davison and Hinkley 1997,
    section 3.8): ten slices of one volume tell little more than one.

    Args:
      values: [N], one number per image.
      groups: N names; None where each image is one by itself.
      seed: of the draws; the same seed and number of groups draw the same groups, so two measures are compared in
        pairs.
      resamples: number of draws, >= 1.
      level: in (0, 1).

    Returns:
      (low, high). One value or one group alone gives (mean, mean).

    Raises:
      ValueError: no value, a value that is not finite, or an argument out of range.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"values must be a list of at least one finite number; found shape {values.shape}")
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"resamples must be >= 1 and level in (0, 1); found {resamples} and {level}")
    group = np.arange(values.size) if groups is None else np.unique(groups, return_inverse=True)[1]
    sums, sizes = np.bincount(group, values), np.bincount(group)
    rng = np.random.default_rng(seed)
    # Some draws at a time: a table of resamples x groups would take gigabytes for a large data set.
    most = max(1, 2**16 // sums.size)
    parts = [min(most, resamples - done) for done in range(0, resamples, most)]
    drawn = (rng.integers(sums.size, size=(part, sums.size)) for part in parts)
    means = [sums[rows].sum(axis=1) / sizes[rows].sum(axis=1) for rows in drawn]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

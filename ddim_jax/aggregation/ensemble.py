"""The samples of one image fused into one probability map, by mean, majority or STAPLE, under a protocol."""

import jax
import numpy as np

from ddim_jax.aggregation.fusion import check_samples
from ddim_jax.aggregation.protocols import Protocol, threshold_mask
from ddim_jax.aggregation.staple import staple

ENSEMBLES = ("mean", "majority", "staple")
_FUSED_MASKS_THRESHOLD = 0.5

_staple = jax.jit(staple)


def ensemble_probability(samples: np.ndarray, protocol: Protocol, ensemble: str = "mean") -> np.ndarray:
    """Fuses the samples of an image.

    "mean": what the protocol makes of all samples together. For the other two, the protocol makes a mask of each sample
    by itself, with its own threshold. "majority": the fraction of the masks that hold the pixel. "staple": the
    probability of the mask behind them, found by STAPLE.

    Args:
      samples: [S, h, w] estimates of x_0, about [-1, 1] and unclipped.
      protocol: one of `PROTOCOLS`.
      ensemble: one of `ENSEMBLES`.

    Returns:
      float32 [h, w] in [0, 1]; cut it at `ensemble_threshold`.

    Raises:
      ValueError: no sample, another shape, a value that is not finite, or an unknown ensemble.
    """
    if ensemble not in ENSEMBLES:
        raise ValueError(f"ensemble is {ensemble!r}; expected one of {', '.join(ENSEMBLES)}")
    if ensemble == "mean":
        return protocol.probability(samples)
    samples = check_samples(samples)
    masks = np.stack([threshold_mask(protocol.probability(one[np.newaxis]), protocol.threshold) for one in samples])
    if ensemble == "majority":
        return masks.mean(axis=0, dtype=np.float64).astype(np.float32)
    return _staple_probability(masks)


def _staple_probability(masks: np.ndarray) -> np.ndarray:
    """`staple` of uint8 [S, h, w], run on the different votes and how often each is there.

    Run on the pixels, it would be compiled for every size of picture, and each program stay in memory.
    """
    packed = np.packbits(masks.reshape(len(masks), -1), axis=0)
    # Of numbers, as which eight masks fit in, NumPy finds the different ones much faster than of columns.
    values, axis = (packed[0], None) if len(packed) == 1 else (packed, 1)
    values, inverse, counts = np.unique(values, axis=axis, return_inverse=True, return_counts=True)
    votes = np.unpackbits(values.reshape(len(packed), -1), axis=0, count=len(masks))
    room = 2 ** (votes.shape[1] - 1).bit_length()  # few programs serve all numbers of different votes
    unused = room - votes.shape[1]
    probability = _staple(np.pad(votes, ((0, 0), (0, unused))), np.pad(counts, (0, unused))).probability
    return np.asarray(probability)[inverse.reshape(masks.shape[1:])]


def ensemble_threshold(protocol: Protocol, ensemble: str = "mean") -> float:
    """Where `ensemble_probability` is cut: the protocol's threshold for the mean, 0.5 for majority and STAPLE.

    Pixels strictly above it are foreground, so that half of the votes are not a majority.
    """
    return protocol.threshold if ensemble == "mean" else _FUSED_MASKS_THRESHOLD

"""Distance between the outlines of two masks.

An outline is every foreground pixel with a background pixel above, below, left or right of it; beyond the image's
edge counts as background. Distances are Euclidean, between pixel centres, in pixels of the masks given or in
millimetres.

For each direction the percentile over the outline pixels of one mask of their distance to the other outline is taken,
and the larger of the two directions counts (the definition of Metrics Reloaded, Maier-Hein et al. 2024). Pooling both
directions into one percentile, as some packages do, lets a long outline hide that a short one is far away.

Empty masks: both empty: 0. Exactly one empty: the diagonal of the image, sqrt(H^2 + W^2), a little more than any two
pixels can be apart, so a missed object costs more than a misplaced one and the mean stays finite.
"""

import math

import numpy as np

from ddim_jax.metrics.overlap import check_masks
from ddim_jax.registry import METRICS


def hausdorff(
    prediction: np.ndarray, truth: np.ndarray, percentile: float = 100.0, pixel_mm: tuple[float, float] = (1.0, 1.0)
) -> float:
    """The symmetric Hausdorff distance of the outlines at a percentile; 100 is the classical maximum.

    Args:
      prediction: [H, W] of 0 and 1 (or boolean).
      truth: [H, W], the same.
      percentile: in [0, 100], interpolated linearly between outline pixels.
      pixel_mm: from row to row and from column to column; as it stands for a distance in pixels.

    Returns:
      Distance in pixels or millimetres, >= 0: 0 when both masks are empty, the image's diagonal when exactly one is.

    Raises:
      ValueError: the masks differ in size or hold other values, the percentile is out of range, or a distance between
        pixels is not above 0.
    """
    prediction, truth = check_masks(prediction, truth)
    if not 0 <= percentile <= 100:
        raise ValueError(f"the percentile is {percentile}; expected 0 to 100")
    if len(pixel_mm) != 2 or not all(0 < step < math.inf for step in pixel_mm):
        raise ValueError(f"pixel_mm is {pixel_mm}; expected two distances above 0")
    if not prediction.any() and not truth.any():
        return 0.0
    if not prediction.any() or not truth.any():
        return math.hypot(*(length * step for length, step in zip(truth.shape, pixel_mm, strict=True)))
    from scipy import ndimage  # not at the head: few need it, and it takes long to import

    # Nothing lies outside the box around both masks, so cutting it out changes no outline and saves most of the work.
    box = ndimage.find_objects((prediction | truth).astype(np.uint8))[0]
    outlines = [mask[box] & ~ndimage.binary_erosion(mask[box]) for mask in (prediction, truth)]
    return max(
        float(np.percentile(ndimage.distance_transform_edt(~there, sampling=pixel_mm)[here], percentile))
        for here, there in (outlines, outlines[::-1])
    )


@METRICS.register("hd95")
def hd95(prediction: np.ndarray, truth: np.ndarray) -> float:
    """The 95th percentile symmetric Hausdorff distance in pixels of the masks given; see `hausdorff`.

    Outline: foreground pixels with a background pixel (or the image's edge) among their 4 neighbours. 95th percentile
    of the distances in each direction, the larger of the two. Both masks empty: 0; exactly one empty: the diagonal of
    the image, sqrt(H^2 + W^2).
    """
    return hausdorff(prediction, truth, 95.0)


@METRICS.register("hd95_mm")
def hd95_mm(prediction: np.ndarray, truth: np.ndarray, pixel_mm: tuple[float, float]) -> float:
    """hd95 in millimetres, where every file says the size of a pixel and masks are scored at the image's own size; of
    a projection (X-ray) at its detector. Both masks empty: 0; exactly one empty: the diagonal of the image.
    """
    return hausdorff(prediction, truth, 95.0, pixel_mm)

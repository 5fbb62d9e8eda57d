"""Images of different splits that nearly copy each other: saved again as JPEG, resized, or made brighter or darker."""

import itertools
from collections.abc import Iterable, Mapping

import numpy as np

from ddim_jax.data.facts import THUMBNAIL, PairFacts

_AROUND = 2
_SHARED, _IMAGES_TO_ONE = 16, 4  # principal components at most, and the images for each
_FEWEST = 16  # images of the largest split: of fewer, nobody can tell what they have in common
_ALIKE = 0.9
"""The least correlation. No two of 2411 chest X-rays, polyps and skin lesions reach 0.71 among their kind; images of
half the size reach 0.96 with what they were made from, those saved as JPEG of quality 50 reach 0.92 from 128 pixels
on."""


def near_copies(facts: Mapping[str, Mapping[str, PairFacts]]) -> list[str]:
    """The pairs of images of two splits that nearly copy each other, such as "a of train and b of test".

    They do if the details of their thumbnails correlate by more than `_ALIKE` when the principal components of all are
    taken out, which are what images have in common: a black frame, a text, the anatomy. Copies that are turned or
    cropped are not found. Those that are the same to the pixel are left out, as are images of one value. Where no split
    has 16 images, none are found.

    Args:
      facts: for each split those of its pairs by name.
    """
    named = {split: [pair for pair in pairs.items() if pair[1].levels > 1] for split, pairs in facts.items()}
    details = {split: _details(fact.thumbnail for _, fact in pairs) for split, pairs in named.items()}
    # Of one split: an image and its copy would be such a component themselves.
    largest = max(details.values(), key=len)
    if len(largest) < _FEWEST:
        return []
    _, axes = np.linalg.eigh(largest.T @ largest)
    shared = axes[:, axes.shape[1] - min(_SHARED, len(largest) // _IMAGES_TO_ONE) :]
    own = {split: _of_length_1(values - values @ shared @ shared.T) for split, values in details.items()}
    found = []
    for one, other in itertools.combinations(facts, 2):
        for start in range(0, len(own[one]), 1024):
            rows, columns = np.nonzero(own[one][start : start + 1024] @ own[other].T > _ALIKE)
            for row, column in zip((rows + start).tolist(), columns.tolist(), strict=True):
                (name, fact), (like, known) = named[one][row], named[other][column]
                if fact.picture != known.picture:
                    found.append(f"{name} of {one} and {like} of {other}")
    return found


def _details(thumbnails: Iterable[bytes]) -> np.ndarray:
    """Thumbnails without their mean over 5 x 5 pixels, float32 [N, 1024], of length 1."""
    side, width = THUMBNAIL, 2 * _AROUND + 1
    grey = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, side, side).astype(np.float32)
    padded = np.pad(grey, ((0, 0), (_AROUND, _AROUND), (_AROUND, _AROUND)), mode="edge")
    parts = np.lib.stride_tricks.sliding_window_view(padded, (width, width), axis=(1, 2))
    return _of_length_1((grey - parts.mean(axis=(3, 4))).reshape(-1, side * side))


def _of_length_1(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)

"""One mask of several of an image, parts of one truth united or the consensus of annotators, and none of its copies."""

import filecmp
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ddim_jax.labels import IGNORED, Labels
from ddim_jax.runtime.errors import DataError


def refuse_copy(image: Path, pixels: np.ndarray, mask: Path) -> None:
    """Refuses a mask that is the file of its image once more, by its bytes; an image of two levels may be its own mask.

    Its values do not always tell: of a bright photograph few may lie well between the darkest and the brightest.

    Args:
      image: the file of the image.
      pixels: those of the image, any shape.
      mask: the file of the mask, which was read by level.

    Raises:
      DataError: it is a copy.
    """
    if not (os.path.isfile(image) and os.path.isfile(mask)):  # a series, or files in an archive
        return
    if filecmp.cmp(image, mask, shallow=False) and len(np.unique(pixels)) > 2:
        raise DataError(f"{mask}: is a copy of its image {image}; put the mask in its place, saved as 0 and 255.")


def united(masks: Mapping[Path, np.ndarray], labels: Labels) -> np.ndarray:
    """One decoded mask of several of one image, by their files: each pixel has the class that any of them gives it.

    A pixel that some ignore and none gives a class is ignored.

    Raises:
      DataError: two of them give a pixel different classes, which only `labels.multilabel` has room for.
    """
    (first, whole), *rest = masks.items()
    for file, mask in rest:
        both = (whole != 0) & (whole != IGNORED) & (mask != 0) & (mask != IGNORED)
        if labels.multilabel:
            mask = np.where(both, mask | whole, mask)
        elif (whole[both] != mask[both]).any():
            raise DataError(f"{first} and {file} give pixels different classes; data.multilabel has room for both")
        whole = np.where((mask != 0) & ((mask != IGNORED) | (whole == 0)), mask, whole)
    return whole


def consensus(masks: np.ndarray, labels: Labels = Labels()) -> np.ndarray:
    """The value that most annotators give each pixel, of those as frequent the smallest: background before a class.

    Of classes that may overlap, each by itself.

    Args:
      masks: uint8 [A, H, W] as `ddim_jax.labels` has it.
      labels: the classes.

    Returns:
      uint8 [H, W].
    """
    if labels.multilabel:
        whole = np.zeros(masks.shape[1:], np.uint8)
        for number in range(1, labels.count + 1):
            votes = labels.of_class(masks, number).sum(axis=0)
            whole |= np.where(2 * votes > len(masks), 2 ** (number - 1), 0).astype(np.uint8)
        return np.where(2 * (masks == IGNORED).sum(axis=0) > len(masks), np.uint8(IGNORED), whole)
    values = np.unique(masks)
    votes = np.stack([(masks == value).sum(axis=0) for value in values])
    return values[votes.argmax(axis=0)].astype(np.uint8)


def consensus_in_words(annotators: int, labels: Labels = Labels()) -> str:
    """Returns the rule, in words, by which the `consensus` of so many annotators is made of masks of `labels`."""
    if not labels.multilabel and (labels.several or labels.ignore):
        return "a pixel has the value that most of them give it, of those as frequent the smallest"
    counts = "a pixel counts for a class" if labels.several else "a pixel counts"
    return f"{counts} where {'both' if annotators == 2 else 'more than half of them'} say so"

"""The images of an evaluation: every pair is read before any is sampled, so that one that cannot be costs nothing."""

import statistics
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from absl import logging
from rich.progress import Progress

from ddim_jax.data import Example, Source, check_source
from ddim_jax.data.arrays import check_example
from ddim_jax.data.facts import image_digest, is_lost, resized_dice, values_of
from ddim_jax.data.sources import data_error, example_of
from ddim_jax.imageio.foregrounds import describe_foregrounds, noting
from ddim_jax.imageio.label_maps import UnnamedValuesError
from ddim_jax.labels import Labels
from ddim_jax.preprocessing import resize_mask
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import quantity

_KEPT_BYTES = 2**29  # of images, which are read before any is sampled, and again for the figures


class Pictures(NamedTuple):
    """All pairs of a source, after they were read once.

    Attributes:
      look: gives a pair by its row; of the first `_KEPT_BYTES` from memory.
      working_size: what of the masks is left at the size that images are resized to: {"masks": those with foreground,
        "lost": those that lose a class, "resized_dice"}; None where nothing is resized.
      trained_on: the names of those that the network was trained on; None where that is not known.
    """

    look: Callable[[int], Example]
    working_size: dict[str, Any] | None
    trained_on: Sequence[str] | None


def read_all(
    source: Source,
    bar: Progress,
    labels: Labels,
    resized_to: int | None = None,
    scored_at: int | None = None,
    trained_on: Collection[str] | None = None,
) -> Pictures:
    """Reads every pair.

    Where some files do not say the size of a pixel, no pair has it: a mean of millimetres is over all or none.

    Args:
      source: the pairs.
      bar: shows how far it is.
      labels: the classes.
      resized_to: the size that the network works at; None where nothing is resized.
      scored_at: the size to which masks are resized before they are scored; None where they are not.
      trained_on: the digests of the images of the training (`image_digest`); None where they are not known.

    Raises:
      DataError: pairs cannot be used, or masks are ignored everywhere, of which up to ten are named; or masks that are
        read by level have several values for their foreground.
    """
    kept: dict[int, Example] = {}
    free, foregrounds, ignored, unknown, lost, resized, known = _KEPT_BYTES, [], [], 0, [], [], []
    for row in bar.track(range(len(source)), description="reading"):
        try:
            with noting(foregrounds):
                example = example_of(source, row)
                check_example(example, labels)
        except DataError:
            check_source(source, labels=labels)  # names all that cannot be read
            raise
        scored = example.mask if scored_at is None else resize_mask(example.mask, (scored_at, scored_at))
        if not labels.valid(scored).any():
            ignored.append(example.id)
        unknown += example.pixel_mm is None
        if trained_on and image_digest(example.image).hexdigest() in trained_on:
            known.append(example.id)
        if resized_to is not None and values_of(example.mask, labels):
            lost.append(max(example.mask.shape) > resized_to and is_lost(example.mask, resized_to, labels))
            resized.append(resized_dice(example.mask, resized_to, labels))
        free -= example.nbytes
        if free >= 0:
            kept[row] = example
    if ignored:
        raise data_error(
            f"{source.name}: {quantity(len(ignored), 'mask is', 'masks are')} ignored everywhere (data.ignore), so "
            "there is nothing to score; leave these images out of the folder or the split:",
            ignored,
        )
    if several := describe_foregrounds(foregrounds):
        raise UnnamedValuesError(f"{source.name}: {several}")
    if 0 < unknown < len(source):
        logging.warning(f"{unknown} of {len(source)} files do not say the size of a pixel: no distance is told in mm")

    def look(row: int) -> Example:
        example = kept[row] if row in kept else example_of(source, row)
        return example._replace(pixel_mm=None) if unknown else example

    left = {"masks": len(lost), "lost": sum(lost), "resized_dice": statistics.fmean(resized)} if lost else None
    return Pictures(look, left, None if trained_on is None else known)

"""Splits decoded, checked and resized into uint8 arrays: each file is read once."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ddim_jax.data.facts import PairFacts, PixelBudget, facts_of
from ddim_jax.data.sources import Example, Source, annotators_of, data_error, example_of, labels_of
from ddim_jax.imageio.foregrounds import Foreground, describe_foregrounds, noting
from ddim_jax.imageio.label_maps import LabelMapError, UnnamedValuesError, describe_label_maps
from ddim_jax.labels import IGNORED, Labels
from ddim_jax.preprocessing import resize_image, resize_mask
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import NAMED_AT_MOST, first_names, quantity

THREADS = 8
"""Pairs decoded at once (decoding releases the interpreter's lock); fewer where they are large (`PixelBudget`)."""


class Arrays(NamedTuple):
    """Pairs of a split at one size.

    Attributes:
      ids: N names.
      images: uint8 [N, S, S, 3].
      masks: uint8 [N, S, S] as `ddim_jax.labels` has them, 255 where they are ignored.
      annotators: uint8 [N, A, S, S], the masks of several annotators, of which `masks` is the consensus; None
        where there is one truth.
      facts: about every row that was read, kept or not, at its own size, with the digest of its pixels.
    """

    ids: tuple[str, ...]
    images: np.ndarray
    masks: np.ndarray
    facts: dict[int, PairFacts]
    annotators: np.ndarray | None = None


class Selection(NamedTuple):
    """Rows of a source to be read.

    Attributes:
      source: any source.
      keep: rows that `load_selections` returns as arrays, in this order.
      check: rows that are read and checked, but not kept; those of `keep` need not be repeated.
    """

    source: Source
    keep: Sequence[int]
    check: Sequence[int] = ()


def check_example(example: Example, labels: Labels = Labels()) -> None:
    """Checks that a pair is what `Example` says, with a mask of `labels`.

    Raises:
      DataError: an array has another type or shape, or a mask another value; the pair is named.
    """
    size = np.shape(example.image)[:2]
    shapes = {"image": (*size, 3), "mask": size}
    if example.annotators is not None:
        shapes["annotators"] = (len(example.annotators), *size)
    for what, shape in shapes.items():
        array = getattr(example, what)
        if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.shape != shape:
            found = f"{getattr(array, 'dtype', type(array).__name__)} {list(np.shape(array))}"
            raise DataError(f"{example.id}: its {what} is {found}; expected uint8 {list(shape)}")
    highest = 2**labels.count - 1 if labels.multilabel else labels.count
    masks = example.mask if example.annotators is None else example.annotators
    others = masks[masks > highest]
    if labels.ignore:
        others = others[others != IGNORED]
    if others.size:
        expected = ("0 or 1" if highest == 1 else f"0 to {highest}") + (f", or {IGNORED}" if labels.ignore else "")
        raise DataError(f"{example.id}: its mask holds {others[0]}; expected {expected}")


def resized(example: Example, image_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The pair at `image_size` x `image_size`: the image bilinear and antialiased, the mask as `resize_mask` has it."""
    shape = (image_size, image_size)
    return resize_image(example.image, shape), resize_mask(example.mask, shape)


def resized_annotators(example: Example, image_size: int) -> np.ndarray:
    """The masks of the annotators at `image_size` x `image_size`: uint8 [A, S, S]."""
    return np.stack([resize_mask(mask, (image_size, image_size)) for mask in example.annotators])


def load_selections(
    selections: Sequence[Selection],
    image_size: int,
    *,
    resized_at: Sequence[int] = (),
    labels: Labels | None = None,
) -> list[Arrays]:
    """Reads, checks and resizes pairs of one or more splits, each file once.

    Args:
      selections: rows to keep and rows only to check.
      image_size: S, in pixels.
      resized_at: as for `facts_of`.
      labels: the classes of the masks; None for those that each source says.

    Returns:
      For each selection the pairs of `keep`.

    Raises:
      DataError: some pairs of any selection cannot be used; up to ten are named with what is wrong, the rest counted.
        Or the foreground of masks that are read by level is not the same value in all files.
    """
    found = [
        Arrays(
            tuple(source.ids[row] for row in keep),
            np.empty((len(keep), image_size, image_size, 3), np.uint8),
            np.empty((len(keep), image_size, image_size), np.uint8),
            {},
            np.empty((len(keep), count, image_size, image_size), np.uint8)
            if (count := annotators_of(source))
            else None,
        )
        for source, keep, _ in selections
    ]

    def attempt(work: tuple[Source, int, Arrays, list[int]]) -> DataError | None:
        source, row, arrays, places = work
        try:
            with budget.room_for(source, row), noting(foregrounds):
                example = example_of(source, row)
                classes = labels_of(source) if labels is None else labels
                check_example(example, classes)
                arrays.facts[row] = facts_of(example, classes, resized_at, image_size)
                if places:
                    arrays.images[places], arrays.masks[places] = resized(example, image_size)
                    if arrays.annotators is not None:
                        arrays.annotators[places] = resized_annotators(example, image_size)
        except DataError as error:
            return error
        return None

    foregrounds: list[Foreground] = []
    budget, work = PixelBudget(), []
    for (source, keep, check), arrays in zip(selections, found, strict=True):
        places: dict[int, list[int]] = {row: [] for row in sorted({*keep, *check})}
        for place, row in enumerate(keep):
            places[row].append(place)
        work += [(source, row, arrays, places[row]) for row in places]
    with ThreadPoolExecutor(THREADS) as pool:
        problems = [problem for problem in pool.map(attempt, work) if problem is not None]
    if problems:
        name = selections[0].source.name
        error = data_error(
            f"{len(problems)} of {len(work)} pairs of {name} cannot be used:", _said(problems, len(work))
        )
        unnamed = any(isinstance(problem, UnnamedValuesError) for problem in problems)
        raise UnnamedValuesError(*error.args) if unnamed else error
    if several := describe_foregrounds(foregrounds):
        raise UnnamedValuesError(f"{selections[0].source.name}: {several}")
    return found


def _said(problems: Sequence[DataError], pairs: int) -> list[str]:
    """The messages, each once; one for all label maps, which are likely to be all masks of the set, and one for all
    files of which the same is said."""
    maps = [problem for problem in problems if isinstance(problem, LabelMapError)]
    maps = maps if len(maps) > 1 else []
    files_of: dict[str, dict[str, None]] = {}
    for problem in problems:
        if problem not in maps:  # a volume's is that of all of its slices
            file, colon, reason = str(problem).partition(": ")
            files_of.setdefault(colon + reason or file, {})[file if colon else ""] = None
    said = [_of_files(reason, list(files)) for reason, files in files_of.items()]
    return [describe_label_maps(maps, pairs), *said] if maps else said


def _of_files(reason: str, files: Sequence[str]) -> str:
    """A message on the first of the files, with the names of up to nine others and their number."""
    first, *others = files
    place = os.path.dirname(first)
    names = [os.path.basename(file) if os.path.dirname(file) == place else file for file in others]
    named = first_names(names, NAMED_AT_MOST - 1)
    return f"{first}{reason}" + (f" Also of {quantity(len(others), 'other file')}: {named}" if others else "")


def check_source(*sources: Source, labels: Labels | None = None) -> None:
    """Reads every pair of the sources once and keeps none; see `load_selections`."""
    load_selections([Selection(source, (), range(len(source))) for source in sources], 1, labels=labels)

"""Table of a data set: its sizes and levels, the masks that a working size loses, and settings with their reasons."""

import os
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddim_jax.data.arrays import Selection, load_selections
from ddim_jax.data.datasets.folder import slices_of
from ddim_jax.data.discovery import listed
from ddim_jax.data.division import Division
from ddim_jax.data.facts import SIZES, PairFacts
from ddim_jax.data.load import load_dataset
from ddim_jax.data.masks import consensus_in_words
from ddim_jax.data.near_copies import near_copies
from ddim_jax.data.sources import SPLITS, PairSource, Unpaired
from ddim_jax.data.split_warnings import few_in_words, shared_pictures, unseen_classes
from ddim_jax.imageio.images import ReadOptions
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import quantity

Line = tuple[str, str, str]
"""A name, what was found, and what to do about it ("" for nothing)."""
KEEP = 0.99
"""The share of the masks of which a recommended size keeps a pixel of each class."""
_GOOD = 0.9  # the Dice of resized masks, on average, at a recommended size
_LARGEST_RESIZED = 256  # beyond it, a network that sees crops does the same with less
_BATCH, _MOST_STEPS = 16, 20_000
LEAST_STEPS = 8000
"""The `train.steps` of configs/folder.py: no fewer are recommended."""
_PASSES = 250  # 8000 steps are 256 passes over 500 images; with 2000 the polyps lose .05 (docs/results/unlabelled.json)
_FEW = 50  # pairs
# Images a second in training: trunk_ddim of folder.py at 64 x 64 takes 25.4 ms for a step of 16 on two idle cores with
# AVX-512 (14000 steps in 356 s: docs/explanation/results.md, "Small networks").
_IMAGES_PER_CORE = 315


def examine(
    root: str | os.PathLike,
    image_size: int,
    device: str,
    cores: int,
    labels: Labels = Labels(),
    reading: ReadOptions = ReadOptions(),
    **given: Any,
) -> Iterator[Line]:
    """The table for a folder of pairs, read one by one with `labels` and `reading`.

    See `describe` and `recommend`. `given` are further fields of `ddim_jax.data.options.DataOptions`.

    Raises:
      DataError: pairs cannot be used; up to ten are named. Of files without a partner, and of a split that a training
        refuses, it comes after the table.
      ConfigError: as `ddim_jax.data.load_dataset`.
    """
    given |= {"root": Path(root), "labels": labels, "reading": reading, "read_only": True}
    unpaired = refused = None
    try:
        source = load_dataset("folder", "all", **given)
    except Unpaired as error:
        if not error.pairs:
            raise
        unpaired = error
    tried = sorted({image_size, *(size for size in SIZES if size <= _LARGEST_RESIZED)})
    try:
        if unpaired is not None:
            slices = [part for pair in unpaired.pairs for part in slices_of(pair)]
            source = PairSource(Path(root).name, slices, labels=labels, reading=reading)
        (arrays,) = load_selections([Selection(source, (), range(len(source)))], 1, resized_at=tried)
    except DataError as error:
        if unpaired is not None:  # both at once
            raise DataError(*unpaired.args, *error.args) from error
        raise
    facts = list(arrays.facts.values())
    pairs, *described = describe(facts, image_size, labels)
    if len(facts) < _FEW:
        pairs = (*pairs[:2], "few to train on: some hundred are usual")
    yield from (pairs, *described)
    if sides := labels.mirrored():
        yield "left and right", " and ".join(sides), "set data.flips=False and sample.flips=False"
    if count := source.annotators:
        of_all = f"{count}, each with a mask of every image; all that is told of masks is of their consensus"
        yield "annotators", f"{of_all}: {consensus_in_words(count, labels)}", ""
    if unpaired is not None:
        raise unpaired
    try:
        division, _ = (load_dataset("folder", split, **given).division for split in ("train", "val"))
        division.check_drawn()
        of_pair = {source.ids[row]: fact for row, fact in arrays.facts.items()}
        named = {split: {} for split in SPLITS}
        for name, split in division.split.items():
            named[split][name] = of_pair[name]
        yield _split_line(division, named, labels, given.get("folds", 0))
        if found := near_copies(named):
            advice = "look at them. Of an image and its copy, leave one out, or give both one group in splits.csv"
            told = quantity(len(found), "pair")
            yield "near copies", f"{told} of images of different splits: {listed(found)}", advice
    except DataError as error:  # of so few pairs, or a table that does not fit them
        refused = error
    yield from recommend(facts, device, cores)
    if refused is not None:
        raise refused


def _split_line(division: Division, named: Mapping[str, Mapping[str, PairFacts]], labels: Labels, folds: int) -> Line:
    """Returns the line on the splits that a training would make of the folder, with what is too small of them.

    Args:
      division: the splits.
      named: for each split the facts of its pairs by name.
      labels: the classes of the masks.
      folds: of a cross-validation; 0 for none.
    """
    of_split = {split: list(own.values()) for split, own in named.items()}
    found = ", ".join(f"{len(own)} {split}" for split, own in of_split.items())
    numbers, what = division.numbers()
    if what != "images":
        found += f"; of {sum(numbers.values())} {what}: " + ", ".join(f"{n} {split}" for split, n in numbers.items())
    few = few_in_words(numbers, what, advise_folds=not folds, of_folders=division.of_folders)
    advice = shared_pictures(named), few, unseen_classes(of_split, labels)
    return "split", f"{found}; {division.rule}", "; ".join(filter(None, advice))


def describe(facts: Sequence[PairFacts], image_size: int | None, labels: Labels = Labels()) -> list[Line]:
    """Sizes, grey levels, classes and foreground of pairs, and what is lost where they are resized to `image_size`.

    Args:
      facts: of one pair or more.
      image_size: in pixels; None where nothing is resized.
      labels: the classes of the masks; one that is in no mask is said.
    """
    sides = (sorted({one.width for one in facts}), sorted({one.height for one in facts}))
    sizes = " x ".join(f"{side[0]} to {side[-1]}" if len(side) > 1 else f"{side[0]}" for side in sides)
    levels = [one.levels for one in facts]
    few = sum(one < 32 for one in levels)
    lines = [
        ("pairs", f"{len(facts)}, {sizes} pixels", ""),
        (
            "grey levels",
            f"{min(levels)} to {max(levels)} different ones in an image, median {statistics.median(levels):g}",
            f"{quantity(few, 'image has', 'images have')} fewer than 32: look at how they were saved" if few else "",
        ),
    ]
    ranges = Counter(one.range for one in facts if one.range is not None)
    if len(ranges) > 1:
        low, high = max(ranges, key=lambda ends: ends[1] - ends[0])
        found = ", ".join(f"{low:g} to {high:g} in {number}" for (low, high), number in ranges.most_common(10))
        advice = f"for one scale of grey set data.window; {(low + high) / 2:g},{high - low:g} is {low:g} to {high:g}"
        lines.append(("16-bit ranges", found, advice))
    if notes := Counter(note for one in facts for note in one.notes):
        lines.append(("notes", ", ".join(f"{note} {number}" for note, number in sorted(notes.items())), ""))
    pairs = {name: sum(k in one.values for one in facts) for k, name in enumerate(labels.class_names, start=1)}
    there = ", ".join(f"{name} in {count}" for name, count in list(pairs.items())[:10])
    without = [name for name, count in pairs.items() if not count]
    full = [one for one in facts if one.values]
    lines.append(
        (
            "classes",
            f"{len(pairs)} ({there} pairs)" if full else "none: every mask is empty",
            "there is nothing to learn: look at the masks, and at data.labels"
            if not full
            else f"no mask has {', '.join(without[:10])}: look at data.labels"
            if without
            else "",
        )
    )
    if not full:
        return lines
    shares = [one.share for one in full]
    is_around = labels.count == 1 and all(one.share > 0.5 and one.extent == max(one.height, one.width) for one in full)
    lines.append(
        (
            "foreground",
            f"{min(shares):.2%} to {max(shares):.2%} of an image, median {statistics.median(shares):.2%}; "
            f"its longest side {min(one.extent for one in full)} to {max(one.extent for one in full)} pixels; "
            f"{quantity(len(facts) - len(full), 'mask is', 'masks are')} empty",
            "most of every image, up to its edges: look if the masks are inverted" if is_around else "",
        )
    )
    if image_size is not None:
        lost, enough = lost_at(full, image_size), keeping_size(full)
        named = f"no size up to {SIZES[-1]}" if enough is None else f"{enough} x {enough}"
        resized, advice = resized_at(full, image_size), ""
        if lost > (1 - KEEP) * len(full) or (resized is not None and resized < _GOOD):
            advice = "raise data.image_size, or train on crops with data.crop"
        lines.append(
            (
                f"at {image_size} x {image_size}",
                f"{lost} of {len(full)} masks lose a class; {named} keeps a pixel of each in {KEEP:.0%}"
                + ("" if resized is None else f"; the masks of that size, enlarged, have a Dice of {resized:.2f}"),
                advice,
            )
        )
    return lines


def resized_at(facts: Sequence[PairFacts], size: int) -> float | None:
    """The mean Dice of the masks themselves at a working size; None where it was not found."""
    found = [one.resized.get(size) for one in facts]
    return None if None in found else statistics.fmean(found)


def lost_at(facts: Iterable[PairFacts], size: int) -> int:
    """The number of masks that lose a value at `size` x `size`: one of `SIZES`, or that `facts_of` was given."""
    return sum(size in one.lost for one in facts)


def keeping_size(facts: Sequence[PairFacts]) -> int | None:
    """The smallest of `SIZES` that keeps every value of `KEEP` of the masks; None where none of them does."""
    return next((size for size in SIZES if lost_at(facts, size) <= (1 - KEEP) * len(facts)), None)


def _enough(facts: Sequence[PairFacts]) -> int | None:
    """The smallest of `SIZES` that keeps the masks and at which their Dice is good; None where crops are better."""
    for size in SIZES[: SIZES.index(_LARGEST_RESIZED) + 1]:
        resized = resized_at(facts, size)
        if lost_at(facts, size) <= (1 - KEEP) * len(facts) and (resized is None or resized >= _GOOD):
            return size
    return None


def recommend(facts: Sequence[PairFacts], device: str, cores: int) -> list[Line]:
    """Settings for configs/folder.py on this machine, each with its reason.

    Args:
      facts: of one pair or more.
      device: the platform, as JAX names it: "cpu", "gpu".
      cores: of the processor.
    """
    full = [one for one in facts if one.values]
    enough = _enough(full) if full else 64
    if enough is None:
        extent = statistics.quantiles([one.extent for one in full], n=10)[-1] if len(full) > 1 else full[0].extent
        size = next((size for size in (64, 128) if size >= 4 * extent), 256)
        resized = resized_at(full, _LARGEST_RESIZED)
        why = (
            f"resized to {_LARGEST_RESIZED}, "
            + (f"masks have a Dice of {resized:.2f}" if resized is not None and resized < _GOOD else "masks are lost")
            + f"; nine in ten are at most {extent:.0f} long. --config.data.crop={size} trains on such parts, at "
            "the images' own scale"
        )
        lines = [("data.crop", str(size), why)]
    else:
        size = max(64, enough)
        resized = resized_at(full, size) if full else None
        why = f"{enough} keeps a pixel of each class in {KEEP:.0%} of the masks; time grows with its square"
        lines = [
            (
                "data.image_size",
                str(size),
                why if resized is None else f"masks of that size, enlarged, have a Dice of {resized:.2f}; {why}",
            )
        ]
    lines.append(("train.batch_size", str(_BATCH), "of the config; raise train.accumulate if the memory is too small"))
    steps = min(_MOST_STEPS, max(LEAST_STEPS, round(_PASSES * len(facts) * 0.8 / _BATCH, -2)))
    passes = steps * _BATCH / (len(facts) * 0.8)
    why = (
        f"some {passes:.0f} passes over eight tenths of {len(facts)} pairs: {_PASSES} are aimed at, within "
        f"{LEAST_STEPS} to {_MOST_STEPS} steps"
    )
    if device == "cpu":
        minutes = steps * _BATCH / (_IMAGES_PER_CORE * cores * (64 / size) ** 2) / 60
        why += f"; some {quantity(max(1, round(minutes)), 'minute')} on {quantity(cores, 'idle core')} with AVX-512"
    lines.append(("train.steps", str(int(steps)), why))
    return lines

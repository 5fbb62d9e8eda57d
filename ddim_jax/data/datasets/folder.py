"""A folder of images/ and masks/ as a data set."""

import hashlib
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from absl import logging

from ddim_jax.data.annotators import NUMBERED, check_annotators, of_annotators
from ddim_jax.data.clinic_checks import check_planes, check_ranges, tell_of_ranges
from ddim_jax.data.discovery import entries, match_pairs
from ddim_jax.data.groups import groups_of_pairs, patient_keys
from ddim_jax.data.layouts import MASK_WORDS, NUMBERED_MASK, advice_on_files, advice_on_folder
from ddim_jax.data.options import DataOptions
from ddim_jax.data.sources import (
    SPLITS,
    EmptySplit,
    Pair,
    PairSource,
    Unpaired,
    Volume,
    data_error,
    same_name,
)
from ddim_jax.data.splits import divide
from ddim_jax.imageio.images import image_suffixes, suffix_of
from ddim_jax.imageio.listing import iterate_images, kind_of
from ddim_jax.imageio.stacks import count_slices
from ddim_jax.registry import DATASETS
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.once import say_once
from ddim_jax.runtime.values import quantity

_MASK_SUFFIX = re.compile(rf"[_-]({'|'.join(MASK_WORDS)})$", re.IGNORECASE)
_NUMBER = re.compile(r"([_-]\d+|\s*\(\d+\))$")
_ENDINGS = f"{', '.join(f'_{word}' for word in MASK_WORDS[:-1])} or _{MASK_WORDS[-1]}, or with - for _"


@DATASETS.register("folder")
def load_folder(split: str, options: DataOptions) -> PairSource:
    """One split of the pairs below `options.root`, by its splits.csv, folders called after splits, or a
    draw (`splits.divide`).

    The split "all" holds every pair; no table is read or written for it.

    Raises:
      ConfigError: `options.root` is not given.
      DataError: there are no pairs, some files have no partner, or splits.csv does not fit; all of it is said at once,
        up to ten names. DICOM files are slices of one series and say no window, and `options.reading` has none; or
        volumes are cut in different planes.
    """
    root = options.folder("folder")
    try:
        pairs = find_pairs(root, options.annotators)
    except Unpaired as error:
        if split != "all" and error.pairs:
            error.args += (f"`ddim-jax doctor --data {shlex.quote(str(root))}` checks the other pairs as well",)
        raise
    if options.reading.window is None:
        check_ranges(root, (pair.image for pair in pairs if pair.slice is None))
        tell_of_ranges(root, (pair.image for pair in pairs if not pair.slice))
    check_planes(root, (pair.image for pair in pairs if pair.slice == 0))
    keys = {pair.id: patient_keys(pair.id, pair.image) for pair in pairs}
    keys_apart = {name: [key for key in own if key[0] == "patient"] for name, own in keys.items()}
    keys = keys_apart if options.groups == "none" else keys
    groups, apart = groups_of_pairs(pairs, keys), groups_of_pairs(pairs, keys_apart)

    def source_of(pairs: list[Pair], groups: Mapping[str, str]) -> PairSource:
        place = root.resolve()
        source = PairSource(place.name, pairs, labels=options.labels, reading=options.reading, groups=groups)
        source.place = hashlib.sha256(os.fsencode(place)).hexdigest()[:16]
        return source

    if split == "all":
        return source_of(pairs, groups)
    division = divide(options, [pair.id for pair in pairs], groups, apart)
    chosen = [pair for pair in pairs if division.split.get(pair.id) == split]
    if not chosen:
        raise EmptySplit(
            f"{root}: no pair belongs to the split {split} ({division.rule}); give it images there, or lines in a "
            "splits.csv."
        )
    source = source_of(chosen, division.group)
    source.division = division
    source.trained_on = frozenset(
        key for name, own in keys.items() if division.split.get(name) == "train" for key in own
    )
    source.patients = frozenset(key for pair in chosen for key in keys[pair.id]) - source.trained_on
    return source


load_folder.unused = dict.fromkeys(
    (f"data.counts.{split}" for split in SPLITS), "takes all images of a split (a splits.csv can have fewer)"
)


def find_pairs(root: Path, annotators: tuple[str, ...] = ()) -> list[Pair]:
    """Pairs the files of `root`/images with those of `root`/masks, both searched through and through.

    A pair shares its path below images/ and masks/ but for the suffix; the mask's name may end in _ or - and one of
    `ddim_jax.data.layouts.MASK_WORDS`. That path without the suffix is the id. Numbered masks of one image, such as
    x_mask and x_mask_1, are masks of several structures in it; the log says of how many images, and which files it
    passes over.

    Args:
      root: the folder.
      annotators: as `ddim_jax.data.load_dataset` has them: folders in the place of masks/, each with one annotator's
        masks of all images, or ("numbered",): then the numbered masks are each of one annotator.

    Raises:
      ConfigError: `annotators` are neither.
      DataError: as `load_folder`, `Unpaired` of files without a partner; or an image lacks the mask of an annotator.
    """
    check_annotators(annotators)
    if root.is_file():
        raise DataError(
            f"data.root is {root}: is a file; unpack it, and give the folder with images/ and masks/ in it."
        )
    if not root.is_dir():
        here = "" if root.is_absolute() else f" in {Path.cwd()}"
        raise DataError(f"data.root is {root}: no such folder{here}; expected one with images/ and masks/ in it.")
    of_each = annotators if len(annotators) > 1 else ("masks",)
    folders = _folders(root, ("images", *of_each))
    others: Counter[str] = Counter()
    images, *masks = (
        [
            (_stem(file, folders[name]), file)
            for file in iterate_images(folders[name], lambda file: others.update([kind_of(file)]))
        ]
        for name in folders
    )
    found, problems = [], []
    for name, own in zip(of_each, masks, strict=True):
        own, numbered = _masks_of({same_name(stem) for stem, _ in images}, own)
        pairs, wrong = match_pairs(images, own)
        problems += wrong if len(of_each) == 1 else [f"{name}/: {problem}" for problem in wrong]
        if numbered and annotators != NUMBERED:
            _say_united(root, numbered)
        more = (pair._replace(more_masks=tuple(numbered.get(same_name(pair.id), ())[1:])) for pair in pairs)
        found.append(list(more))
    if problems:
        where = " and ".join(f"{name}/" for name in ("images", *of_each))
        told = quantity(len(problems), f"file of {where} does", f"files of {where} do")
        headline = (
            f"{root}: {told} not pair up by name; expected each mask where its image is, folders included "
            f"({of_each[0]}/p07/x.png for images/p07/x.png), with or without {_ENDINGS}:"
        )
        others = [(_stem(file, folders[name]), file) for files in numbered.values() for file in files]
        error = Unpaired(*data_error(headline, problems).args, *advice_on_files(images, [*own, *others]))
        error.pairs = () if annotators else tuple(found[0])  # no file is opened: a damaged one would replace this error
        raise error
    if others:
        kinds = ", ".join(f"{kind or 'no suffix'} {number}" for kind, number in sorted(others.items()))
        say_once(logging.warning, f"{root}: files of images/ and masks/ that are no images are passed over: {kinds}")
    if annotators:
        pairs = of_annotators(root, found)
    else:
        (pairs,) = found
    return [part for pair in pairs for part in slices_of(pair)]


def _folders(root: Path, wanted: tuple[str, ...]) -> dict[str, Path]:
    """The folders of these names directly in `root`, whatever their case, in that order.

    Raises:
      DataError: one is missing, or there are two of one name.
    """
    found: dict[str, Path] = {}
    for entry in sorted(entry for entry in root.iterdir() if entry.is_dir()):
        for name in wanted:
            if same_name(entry.name) == same_name(name):
                if name in found:
                    raise DataError(f"{root} holds both {found[name].name} and {entry.name}; put all {name} into one.")
                found[name] = entry
    missing = [name for name in wanted if name not in found]
    if missing:
        others = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry not in found.values())
        if len(wanted) > 2:
            said = " (data.annotators; of another folder evaluate --annotators A,B, or '' for one truth)"
        elif missing == ["masks"] and len(others) > 1:
            said = (
                f" (masks of several annotators: --annotators {','.join(others)}, data.annotators in training; of "
                "several structures: unite them into masks/, or name them x_mask_1, x_mask_2 there)"
            )
        else:
            said = ""
        missed = " and no folder ".join(missing)
        advice = advice_on_folder(root, wanted)
        raise DataError(f"{root} has no folder {missed}{said}; it holds {entries(root)}. {advice}.")
    return {name: found[name] for name in wanted}


def _say_united(root: Path, numbered: dict[str, list[Path]]) -> None:
    files = next(iter(numbered.values()))
    say_once(
        logging.warning,
        f"{root}: {quantity(len(numbered), 'image has', 'images have')} numbered masks, which are united "
        f"({' + '.join(file.name for file in files)} and the like). If they are of several annotators, set "
        "data.annotators to numbered.",
    )


def _masks_of(
    images: set[str], masks: Iterable[tuple[str, Path]]
) -> tuple[list[tuple[str, Path]], dict[str, list[Path]]]:
    """Masks by the stem of their image, and the files of those images that have several, the one without number first.

    Args:
      images: the stems, as `same_name` gives them.
      masks: stem and file.
    """
    found: list[tuple[str, Path]] = []
    numbered: dict[str, list[Path]] = {}
    # Beside images x and x_1, a mask x_2 may be that of an image that is missing, and is not taken for a second of x.
    may_be_bare = not any((base := _NUMBER.sub("", name)) != name and base in images for name in images)
    for stem, file in masks:
        # An image may itself be called x_mask, or x_1: its own name goes first.
        bare = _MASK_SUFFIX.sub("", stem)
        names = (stem, bare, NUMBERED_MASK.sub("", stem), *([_NUMBER.sub("", bare)] if may_be_bare else []))
        own = next((name for name in names if same_name(name) in images), bare)
        if own in (stem, bare):
            found.append((own, file))
        else:
            numbered.setdefault(same_name(own), []).append(file)
    with_number = dict.fromkeys(numbered, "")
    for stem, file in found:
        if (key := same_name(stem)) in with_number and not with_number[key]:
            with_number[key] = stem
            numbered[key].insert(0, file)
    # Where all masks of an image have numbers, the first of them stands for it.
    found += [(key, numbered[key][0]) for key, stem in with_number.items() if not stem]
    return found, {key: files for key, files in numbered.items() if len(files) > 1}


def _stem(file: Path, folder: Path) -> str:
    name = file.relative_to(folder).as_posix()
    return name.removesuffix(suffix_of(name, image_suffixes()))


def slices_of(pair: Pair) -> list[Pair]:
    """The pair, or one for each slice of a volume, named x#001, x#002, ...

    Raises:
      DataError: the header of its image cannot be read.
    """
    count = count_slices(pair.image)
    if count == 1:
        return [pair]
    whole = Volume(pair.id, count)
    return [pair._replace(id=f"{pair.id}#{n + 1:03d}", slice=n, volume=whole) for n in range(count)]

"""The masks of several annotators in a folder of pairs: who gave which."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ddim_jax.data.sources import Pair, data_error, same_name
from ddim_jax.runtime.errors import ConfigError, DataError
from ddim_jax.runtime.values import quantity

NUMBERED = ("numbered",)
"""The value of `data.annotators` for numbered names: x_mask_1 is of annotator 1, x_mask_2 of annotator 2."""
_LAST_NUMBER = re.compile(r"(\d+)\)?$")


def check_annotators(annotators: Sequence[str]) -> None:
    """Refuses what cannot be `data.annotators` of a folder.

    Raises:
      ConfigError: it is one folder alone, or a name is no folder's or stands there twice.
    """
    if not annotators or tuple(annotators) == NUMBERED:
        return
    wrong = [name for name in annotators if name in ("", ".", "..") or "/" in name or name.casefold() == "images"]
    if len(annotators) == 1 or wrong or len({name.casefold() for name in annotators}) < len(annotators):
        raise ConfigError(
            f"data.annotators is {list(annotators)}; expected the names of two or more folders beside images/, one for "
            "each annotator, or numbered alone, for masks with numbered names; in a config as "
            "--config.data.annotators=anna,ben"
        )


def of_annotators(root: Path, found: Sequence[Sequence[Pair]]) -> list[Pair]:
    """One pair for each image, with the masks of all its annotators.

    Args:
      root: the folder, for messages.
      found: the pairs of each annotator's folder, which have the same ids in the same order; or those of one folder
        alone, in which the number in the name of a mask says whose it is.

    Raises:
      DataError: images have masks of other annotators than most; up to ten are named. Or there is one annotator.
    """
    if len(found) == 1:
        return _numbered(root, found[0])
    pairs = []
    for of_picture in zip(*found, strict=True):
        masks = tuple((pair.mask, *pair.more_masks) for pair in of_picture)
        pairs.append(_with(of_picture[0], masks))
    return pairs


def _numbered(root: Path, pairs: Sequence[Pair]) -> list[Pair]:
    of_pair = [sorted((_number(file, pair), file) for file in (pair.mask, *pair.more_masks)) for pair in pairs]
    numbers = Counter(tuple(number for number, _ in files) for files in of_pair)
    if not numbers:
        return []
    usual = numbers.most_common(1)[0][0]
    if len(usual) < 2 or len(set(usual)) < len(usual):
        raise DataError(
            f"{root}: data.annotators is numbered, and most images have {_said(usual)}; expected two or more with "
            "different numbers, such as x_mask_1 and x_mask_2"
        )
    problems = [
        f"{pair.image} has {_said([number for number, _ in files])}"
        for pair, files in zip(pairs, of_pair, strict=True)
        if tuple(number for number, _ in files) != usual
    ]
    if problems:
        raise data_error(
            f"{root}: {len(problems)} of {len(pairs)} images have masks of other annotators than most, which have "
            f"{_said(usual)}; every annotator's mask of every image is needed (data.annotators):",
            problems,
        )
    return [_with(pair, tuple((file,) for _, file in files)) for pair, files in zip(pairs, of_pair, strict=True)]


def _with(pair: Pair, masks: tuple[tuple[Path, ...], ...]) -> Pair:
    first, *more = [file for files in masks for file in files]
    return pair._replace(mask=first, more_masks=tuple(more), annotators=masks)


def _number(file: Path, pair: Pair) -> int:
    """The number that the name of a mask has besides that of its image, -1 for none."""
    own, picture = same_name(file.name), same_name(pair.id.rpartition("/")[2])
    found = _LAST_NUMBER.search(own.removeprefix(picture).partition(".")[0])
    return int(found[1]) if found else -1


def _said(numbers: Sequence[int]) -> str:
    said = ", ".join("no number" if number < 0 else str(number) for number in numbers)
    return f"{quantity(len(numbers), 'mask')} ({said})"

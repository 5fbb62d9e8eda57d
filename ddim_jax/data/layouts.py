"""Advice on a folder that is laid out in another way than `ddim_jax.data.datasets.folder` takes it."""

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ddim_jax.data.sources import same_name
from ddim_jax.imageio.images import reader_of
from ddim_jax.registry import READERS
from ddim_jax.runtime.values import quantity

MASK_WORDS = ("mask", "masks", "segmentation", "seg", "label", "labels")
"""The ends of a mask's name behind that of its image, after _ or -."""
NUMBERED_MASK = re.compile(rf"([_-](?:{'|'.join(MASK_WORDS)}))([_-]?\d+|\s*\(\d+\))$", re.IGNORECASE)
"""The end of the name of one of several masks of an image: the word and the number."""
_MARKS = "_-. "
_NNUNET = (
    "This is nnU-Net's layout: link each file of imagesTr into images without _0000 in its name, and labelsTr as masks"
)
_DECATHLON = "This is the layout of the Medical Segmentation Decathlon: link imagesTr as images, and labelsTr as masks"
_CHANNEL = "The images have nnU-Net's _0000 in their names; drop it, or link each file without it"
_CHANNELS = (
    "The images have nnU-Net's several channels, _0000 and _0001, which are not taken together: link the files of one "
    "channel into images without its number"
)
_OTHER_NAMES = {
    "images": ("image", "imgs", "img"),
    "masks": ("mask", "labels", "label", "annotations", "annotation", "segmentations", "segmentation"),
}


def advice_on_folder(root: Path, wanted: Sequence[str]) -> str:
    """Says what to do where `root` lacks some of the folders `wanted`, and ends with the layout that is expected."""
    layout = f"Expected DIR/{wanted[0]}/NAME.png with DIR/{wanted[1]}/NAME.png"
    return f"{known}. {layout}" if (known := _known_layout(root, wanted)) else layout


def _known_layout(root: Path, wanted: Sequence[str]) -> str:
    place = Path(os.path.abspath(root))
    if place.name in wanted and all(os.path.isdir(place.parent / name) for name in wanted):
        return f"Its parent {place.parent} has {' and '.join(wanted)}: give that"
    if all(os.path.isdir(place / name) for name in ("imagesTr", "labelsTr")):
        names = [name.partition(".")[0] for name in os.listdir(place / "imagesTr") if not name.startswith(".")]
        if any(name.endswith("_0001") for name in names):
            return f"{_NNUNET}. {_CHANNELS}"
        return _NNUNET if any(name.endswith("_0000") for name in names) else _DECATHLON
    folders = sorted(entry.name for entry in place.iterdir() if entry.is_dir())
    there, renamed = {same_name(name) for name in folders}, []
    for name in wanted:
        likely = [folder for folder in folders if same_name(folder) in _OTHER_NAMES.get(name, ())]
        if same_name(name) not in there and len(likely) == 1:
            renamed.append(f"{likely[0]} to {name}")
    return f"Rename {' and '.join(renamed)}" if renamed else ""


def advice_on_files(images: Iterable[tuple[str, Path]], masks: Iterable[tuple[str, Path]]) -> list[str]:
    """Lines on what to do where files do not pair up.

    Args:
      images, masks: (name, file) of all files: the path below images/ and masks/ without its suffix, and the whole.
    """
    images, masks = list(images), list(masks)
    of_images = {same_name(name): file for name, file in images}
    alone = {key: name for name, _ in masks if (key := same_name(name)) not in of_images}
    if any(f"{key}_0000" in of_images for key in alone):
        return [_CHANNELS if any(f"{key}_0001" in of_images for key in alone) else _CHANNEL]
    dicom = READERS.get("dicom")
    series = Counter(name.rpartition("/")[0] for name, file in of_images.items() if reader_of(file) is dicom)
    if found := [key for key in alone if series[key]]:
        name, count = alone[found[0]], quantity(series[found[0]], "DICOM file")
        so = f", and so are {len(found) - 1} more" if len(found) > 1 else ""
        return [
            f"images/{name} is a folder of {count}, with one mask{so}: save each series as one NIfTI file, "
            f"images/{name}.nii.gz"
        ]
    mended = {}
    for name in alone.values():
        if (end := NUMBERED_MASK.search(name)) and same_name(image := name[: end.start()] + end[2]) in of_images:
            mended[name] = image + end[1]
    if mended:
        name, so = next(iter(mended)), f", and {len(mended) - 1} more likewise" if len(mended) > 1 else ""
        return [f"Rename {name} to {mended[name]}{so}: a number at the end counts the masks of one image"]
    of_masks = {same_name(name) for name, _ in masks}
    lone_images = [name for name, _ in images if same_name(name) not in of_masks]
    return _advice_on_affixes(lone_images, list(alone.values()))


def _advice_on_affixes(images: Sequence[str], masks: Sequence[str]) -> list[str]:
    """A line where names pair up without what all images, or all masks, begin or end with; [] elsewhere."""
    if min(len(images), len(masks)) < 2:
        return []
    files = [[name.rpartition("/")[2] for name in names] for names in (images, masks)]
    heads = [_common_start(names) for names in files]
    tails = [_common_end(names) for names in files]
    shared, both = _common_end(heads), _common_start(tails)
    shared = shared if shared in heads else shared.lstrip(_MARKS)  # of img_7 and gt_7, the mark goes with the word
    both = both if both in tails else both.rstrip(_MARKS)
    heads, tails = [head.removesuffix(shared) for head in heads], [tail.removeprefix(both) for tail in tails]
    if re.search(r"\d", "".join(heads + tails)):  # numbers tell images apart
        return []
    bare, said = [], []
    for names, head, tail in zip((images, masks), heads, tails, strict=True):
        of_name = {name: _without(name, head, tail) for name in names}
        bare.append({same_name(short): name for name, short in of_name.items() if short})
        ways = [f'begin with "{head}"'] * bool(head) + [f'end in "{tail}"'] * bool(tail)
        said.append(" and ".join(ways))
    paired = [key for key in bare[0] if key in bare[1]]
    if len(paired) < max(2, min(len(images), len(masks)) / 2):
        return []
    kinds = zip(("images", "masks"), said, bare, heads, tails, strict=True)
    renamed = [(kind, how, own[paired[0]], head, tail) for kind, how, own, head, tail in kinds if how]
    told = " and those of ".join(f"{kind} {how}" for kind, how, *_ in renamed)
    such = " and ".join(f"{name} to {_without(name, head, tail)}" for _, _, name, head, tail in renamed)
    return [f"The names of {told}: rename them without it, such as {such}, and {len(paired)} pair up"]


def _common_start(names: Sequence[str]) -> str:
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same)


def _common_end(names: Sequence[str]) -> str:
    return _common_start([name[::-1] for name in names])[::-1]


def _without(name: str, head: str, tail: str) -> str:
    """The path `name` without what its last part begins and ends with; "" where nothing is left of that part."""
    folder, slash, file = name.rpartition("/")
    short = file[len(head) : len(file) - len(tail)]
    return short and f"{folder}{slash}{short}"

"""Images and masks in an unpacked archive, however deep its folders lie, and the pairs they make."""

import unicodedata
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

from ddim_jax.data.sources import Pair, same_name
from ddim_jax.imageio.images import image_suffixes
from ddim_jax.imageio.listing import IMAGE_FOLDERS, MASK_FOLDERS, is_image, walk


def all_images(folder: Path) -> list[Path]:
    """Every image below `folder` by its suffix, sorted; folders as `ddim_jax.imageio.listing.walk` has them."""
    suffixes = image_suffixes()
    return [file for file, is_file in walk(folder, lambda *found: is_image(found[0], suffixes, found[1])) if is_file]


def images_and_masks(folder: Path) -> tuple[Path | None, Path | None]:
    """The folders of images and of masks directly in `folder`, each None where there is none."""
    names = {entry.name.lower(): entry for entry in sorted(folder.iterdir()) if entry.is_dir()}
    images = next((names[name] for name in IMAGE_FOLDERS if name in names), None)
    masks = next((names[name] for name in MASK_FOLDERS if name in names), None)
    return images, masks


def folders_below(root: Path) -> list[Path]:
    """`root` and every folder below it that is searched (`ddim_jax.imageio.listing.walk`)."""
    return [place for place, is_file in walk(root, lambda *_: False) if not is_file]


def listed(names: Iterable[object]) -> str:
    """At most ten names for a message."""
    names = [str(name) for name in names]
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") if names else "nothing"


def entries(root: Path) -> str:
    """The names directly in `root`, for a message."""
    return listed(sorted(entry.name for entry in root.iterdir()))


def name_problem(name: str, file: Path, table: str) -> str | None:
    """A line on a name whose bytes are no text, and could not stand in that table; None for any other."""
    if any("\ud800" <= character <= "\udfff" for character in name):
        return f"{file}: the name is not UTF-8, and could not be written into {table}; rename the file"
    return None


def match_pairs(
    images: Iterable[tuple[str, Path]], masks: Iterable[tuple[str, Path]], stratum: str = ""
) -> tuple[list[Pair], list[str]]:
    """Joins images and masks of the same key.

    Args:
      images, masks: (key, file), where the key says what belongs together and, composed (NFC), becomes the pair's id.
        Keys are compared without regard to case and composition.
      stratum: given to all pairs.

    Returns:
      The pairs, sorted by id, and a line for each problem: an image without a mask, a mask without an image, several
      files with one key, or a name whose bytes are no text.
    """
    problems: list[str] = []
    names: dict[str, str] = {}
    of_images = _by_key(images, "images", problems, names)
    of_masks = _by_key(masks, "masks", problems, {})
    lone_images = [f"{of_images[key]} has no mask" for key in of_images if key not in of_masks]
    lone_masks = [f"{of_masks[key]} has no image" for key in of_masks if key not in of_images]
    for both in zip_longest(lone_images, lone_masks):  # by turns: a message shows the first ones alone
        problems += filter(None, both)
    pairs = [Pair(names[key], of_images[key], of_masks[key], stratum) for key in of_images if key in of_masks]
    return sorted(pairs, key=lambda pair: pair.id), problems


def _by_key(
    files: Iterable[tuple[str, Path]], kind: str, problems: list[str], names: dict[str, str]
) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, file in files:
        key = same_name(name)
        if problem := name_problem(name, file, "splits.csv"):
            problems.append(problem)
        elif key in found:
            there, here = str(found[key]), str(file)
            alike = there != here and unicodedata.normalize("NFC", there) == unicodedata.normalize("NFC", here)
            how = " (their accents are stored in two ways, NFC and NFD; rename one)" if alike else ""
            problems.append(f"{there} and {here} are both {kind} of {name}{how}")
        else:
            found[key], names[key] = file, unicodedata.normalize("NFC", name)
    return found

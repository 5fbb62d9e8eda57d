"""Images and masks in an unpacked archive, however deep its folders lie, and the pairs they make."""

import os
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from ddim_jax.data.sources import Pair, same_name
from ddim_jax.imageio.images import image_suffixes
from ddim_jax.imageio.listing import IMAGE_FOLDERS, MASK_FOLDERS, unreadable_folder, worth_entering


def all_images(folder: Path) -> list[Path]:
    """Every image below `folder`, sorted; hidden entries and folders of the system are left out."""
    found, suffixes = [], image_suffixes()
    for place, files in _walk(folder):
        names = (name for name in files if not name.startswith(".") and name.lower().endswith(suffixes))
        found.extend(place / name for name in names)
    return sorted(found)


def images_and_masks(folder: Path) -> tuple[Path | None, Path | None]:
    """The folders of images and of masks directly in `folder`, each None where there is none."""
    names = {entry.name.lower(): entry for entry in sorted(folder.iterdir()) if entry.is_dir()}
    images = next((names[name] for name in IMAGE_FOLDERS if name in names), None)
    masks = next((names[name] for name in MASK_FOLDERS if name in names), None)
    return images, masks


def folders_below(root: Path) -> list[Path]:
    """`root` and every folder below it, links followed, but for hidden ones and those of the system."""
    return [place for place, _ in _walk(root)]


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder that `folders_below` gives, with the names of its files. Links are followed, each folder is visited
    once, whatever the number of links to it: links that lead back up would otherwise have no end."""
    visited = set()
    for place, folders, files in os.walk(root, onerror=unreadable_folder, followlinks=True):
        about = os.stat(place)
        if (about.st_dev, about.st_ino) in visited:
            folders.clear()
            continue
        visited.add((about.st_dev, about.st_ino))
        # A folder is found under its own name before that of a link beside it.
        folders[:] = sorted(worth_entering(folders), key=lambda name: (os.path.islink(os.path.join(place, name)), name))
        yield Path(place), files


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
    problems += [f"{of_images[key]} has no mask" for key in of_images if key not in of_masks]
    problems += [f"{of_masks[key]} has no image" for key in of_masks if key not in of_images]
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

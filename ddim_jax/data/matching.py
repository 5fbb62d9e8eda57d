"""Which mask belongs to which image."""

from collections.abc import Iterable
from pathlib import Path

from ddim_jax.data.sources import Pair


def match_pairs(
    images: Iterable[tuple[str, Path]], masks: Iterable[tuple[str, Path]], group: str = ""
) -> tuple[list[Pair], list[str]]:
    """Joins images and masks of the same key.

    Args:
      images, masks: (key, file), where the key says what belongs together and becomes the pair's id. Keys are compared
        without regard to case.
      group: given to all pairs.

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
    pairs = [Pair(names[key], of_images[key], of_masks[key], group) for key in of_images if key in of_masks]
    return sorted(pairs, key=lambda pair: pair.id), problems


def _by_key(
    files: Iterable[tuple[str, Path]], kind: str, problems: list[str], names: dict[str, str]
) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, file in files:
        key = name.casefold()
        if any("\ud800" <= character <= "\udfff" for character in name):
            problems.append(f"{file}: the name is not UTF-8, and could not be written into splits.csv; rename the file")
        elif key in found:
            problems.append(f"{found[key]} and {file} are both {kind} of {name}")
        else:
            found[key], names[key] = file, name
    return found

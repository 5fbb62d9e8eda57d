"""Letters at the edges of an image: the patient's right, left, front (anterior), back (posterior), head and feet."""

import numpy as np

_AXES = ("LR", "PA", "HF")
_OPPOSITE = str.maketrans("RLAPHF", "LRPAFH")
_LEAST = np.sin(np.pi / 8)  # of a direction's part: between two of the eight of a compass


def opposite(letters: str) -> str:
    """The letters of the other direction: "LA" for "RP"."""
    return letters.translate(_OPPOSITE)


def edges_of(right: np.ndarray, down: np.ndarray) -> dict[str, str] | None:
    """The letters at the four edges.

    Args:
      right, down: where the image's right and lower edge lie, [3] towards the patient's left, back and head, of any
        length.

    Returns:
      "top", "right", "bottom" and "left", each one letter, or two or three of an oblique direction, the largest part
      first; None where a direction is none.
    """
    lengths = [float(np.linalg.norm(one)) for one in (right, down)]
    if min(lengths) <= 0:
        return None
    right, down = (_letters(one / length) for one, length in zip((right, down), lengths, strict=True))
    return {"top": opposite(down), "right": right, "bottom": down, "left": opposite(right)}


def _letters(direction: np.ndarray) -> str:
    order = np.argsort(-np.abs(direction), kind="stable")
    return "".join(_AXES[axis][int(direction[axis] < 0)] for axis in order if abs(direction[axis]) > _LEAST)

"""Images in which there is nothing to see: all pixels have one value."""

from collections.abc import Callable

import numpy as np


def constant_note(window: tuple[float, float] | None) -> str:
    """The note on an image in which there is nothing to see (`is_constant`), by the `window` that it is shown with."""
    if window is None:
        return "even (there is one value in all pixels, so the result is empty)"
    shown = f"the window {window[0]:g},{window[1]:g} shows every pixel alike, so the result is empty"
    return f"even ({shown}; leave it out or widen it)"


def notes_if_constant(
    pixels: np.ndarray, window: tuple[float, float] | None, without_window: Callable[[], np.ndarray]
) -> tuple[str, ...]:
    """Notes on an image in which there is nothing to see, by its `window` or by itself; () where there is something."""
    if not is_constant(pixels):
        return ()
    return (constant_note(window if window is not None and not is_constant(without_window()) else None),)


def is_constant(pixels: np.ndarray) -> bool:
    """True if all pixels [H, W, C] have one value: there is nothing to see."""
    first = pixels[0, 0]
    return bool((pixels[0] == first).all() and (pixels == first).all())

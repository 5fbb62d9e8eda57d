"""A colour for each class, the same in label maps, overlays and figures."""

import colorsys

import numpy as np

from ddim_jax.labels import IGNORED, Labels

# Of Okabe and Ito, told apart by colour-blind readers and on grey images; black, their eighth, is the background.
_FIRST = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (240, 228, 66), (213, 94, 0), (0, 114, 178))
_GREY = (128, 128, 128)
_GOLDEN = 0.618034  # of a turn: hues that follow each other are far apart


def class_colour(number: int) -> tuple[int, int, int]:
    """The RGB colour of class `number`, from 1 on."""
    if number <= len(_FIRST):
        return _FIRST[number - 1]
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1.0, 0.65, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def palette(labels: Labels) -> np.ndarray:
    """The colours of a decoded mask's values, uint8 [256, 3]: black for 0, grey for ignored pixels.

    Where classes overlap, the mean of their colours.
    """
    colours = np.zeros((256, 3), np.uint8)
    for value in range(1, 1 << labels.count if labels.multilabel else labels.count + 1):
        numbers = [k for k in range(1, labels.count + 1) if value >> (k - 1) & 1] if labels.multilabel else [value]
        colours[value] = np.mean([class_colour(number) for number in numbers], axis=0).round()
    colours[IGNORED] = _GREY
    return colours


def blended(probability: np.ndarray, labels: Labels) -> np.ndarray:
    """Probabilities [h, w, K] as an image: the colours of the classes by their share on black, uint8 [h, w, 3]."""
    colours = palette(labels)[[1 << k if labels.multilabel else k + 1 for k in range(labels.count)]].astype(np.float32)
    total = np.maximum(probability.sum(axis=-1, keepdims=True), 1.0)  # of overlapping classes it may be more than 1
    return np.clip(np.round(probability / total @ colours), 0, 255).astype(np.uint8)

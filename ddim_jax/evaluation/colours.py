"""The colours of the figures that show images: each meaning has one of its own, and the legend says it.

Of one class the truth is orange, the prediction blue, and green is where both are. Of several, hues are those of the
classes alone (`ddim_jax.imageio.class_colours`), so the rest does without: the truth has a white outline, and errors
are black, grey or striped, on an image that is lightened.
"""

import math

import numpy as np
from matplotlib.artist import Artist
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke

from ddim_jax.evaluation.style import BOTH, PREDICTION, TRUTH, plain
from ddim_jax.imageio.class_colours import class_colour, palette
from ddim_jax.labels import Labels

MISSED, PREDICTION_ALONE = "#000000", "#666666"
_AROUND_WHITE = "#BBBBBB"
_PALE = 0.5
_STRIPES = 96  # black and white ones across the longer side, of 2 pixels or more: about 3 dots each
_DARKEST = 0.7  # of a lightened image


def truth_colour(labels: Labels) -> str:
    """The colour of the outline of the truth."""
    return "white" if labels.several else TRUTH


def prediction_colour(labels: Labels, number: int) -> str | tuple[float, ...]:
    """The colour of the outline of class `number`, from 1, of the prediction."""
    return tuple(channel / 255 for channel in class_colour(number)) if labels.several else PREDICTION


def ground(image: np.ndarray, labels: Labels) -> np.ndarray:
    """The image uint8 [H, W, 3] that `agreement` is laid on, [H, W] from 0, black, to 1; of several classes light."""
    grey = image.mean(axis=-1) / 255
    return _DARKEST + (1 - _DARKEST) * grey if labels.several else grey


def agreement(prediction: np.ndarray, truth: np.ndarray, labels: Labels = Labels()) -> np.ndarray:
    """Shows where two masks agree and where not, as an image with transparency.

    Args:
      prediction: uint8 [h, w] as `ddim_jax.labels` has it.
      truth: the same; where it is ignored the result is clear.
      labels: the classes.

    Returns:
      RGBA [h, w, 4] in [0, 1], of several classes [n h, n w, 4] with n so large that stripes can be drawn; clear where
      neither has a class.
    """
    valid = labels.valid(truth)
    drawn, there = prediction.astype(bool) & valid, truth.astype(bool) & valid
    overlay = np.zeros((*truth.shape, 4))
    if not labels.several:
        overlay[drawn & there] = (*to_rgb(BOTH), 0.45)
        overlay[~drawn & there] = (*to_rgb(TRUTH), 0.9)
        overlay[drawn & ~there] = (*to_rgb(PREDICTION), 0.9)
        return overlay
    right = there & (prediction == truth)
    overlay[right, :3] = palette(labels)[truth[right]] / 255
    overlay[right, 3] = _PALE
    overlay[~drawn & there] = (*to_rgb(MISSED), 1.0)
    overlay[drawn & ~there] = (*to_rgb(PREDICTION_ALONE), 1.0)
    return _striped(overlay, drawn & there & ~right)


def _striped(overlay: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The overlay with diagonal stripes in black and white, enlarged where it has too few pixels for them."""
    finer = math.ceil(2 * _STRIPES / max(where.shape))
    overlay, where = (np.repeat(np.repeat(one, finer, axis=0), finer, axis=1) for one in (overlay, where))
    rows, columns = np.nonzero(where)
    white = (rows + columns) // (max(where.shape) // _STRIPES) % 2
    overlay[rows, columns, :3] = white[:, None]
    overlay[rows, columns, 3] = 1.0
    return overlay


def class_legend(labels: Labels) -> list[Artist]:
    """The legend of the classes; nothing of one."""
    names = enumerate(labels.class_names if labels.several else (), start=1)
    return [Patch(color=prediction_colour(labels, number), label=plain(name)) for number, name in names]


def agreement_legend(labels: Labels) -> list[Artist]:
    """The legend of outlines and of `agreement`."""
    if not labels.several:
        return [
            Patch(color=TRUTH, label="truth; filled: missed"),
            Patch(color=PREDICTION, label="prediction; filled: alone"),
            Patch(color=BOTH, label="in both"),
        ]
    around = [Stroke(linewidth=4.5, foreground=_AROUND_WHITE), Normal()]
    return [
        Line2D([], [], color="white", linewidth=2.4, path_effects=around, label="outline of the truth"),
        *class_legend(labels),
        Patch(color=MISSED, label="missed"),
        Patch(color=PREDICTION_ALONE, label="prediction alone"),
        Patch(facecolor="white", edgecolor="black", hatch="/////", linewidth=0.5, label="another class"),
    ]


def agreement_in_words(labels: Labels) -> str:
    """A sentence on what the legend cannot show; "" of one class."""
    return "Colours of the classes: outline of the prediction and, pale, where it is right." if labels.several else ""


def truth_in_words(labels: Labels) -> str:
    """A sentence on the outline of the truth, and one on ignored pixels where there may be any."""
    ignored = " Grey: ignored." if labels.ignore else ""
    return f"{'White' if labels.several else 'Orange'}: outline of the truth.{ignored}"

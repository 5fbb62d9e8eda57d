"""Masks as class numbers from whatever a file holds, and an error where two readings are possible.

One class is published as 0/255, 0/1, booleans, palettes, images with soft (anti-aliased) edges, or JPEG files whose
compression left noise around two levels. All of them are two levels with something in between, and half of the range is
the border. A lossless file of few exact values is another thing: a label map, whose values only the user can tell the
meaning of (two organs; "not annotated"). It is refused with its values until `data.labels` and `data.ignore` say what
they stand for, and then read by value alone.
"""

import numpy as np
from PIL import Image

from ddim_jax.imageio.foregrounds import note
from ddim_jax.imageio.label_maps import (
    MOST_LABELS,
    LabelMapError,
    first_of,
    label_counts,
    plain_number,
    value_counts,
)
from ddim_jax.imageio.levels import JPEG_NOISE, SoftRange, mask_of_levels
from ddim_jax.imageio.soft_masks import soft_range
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import DataError
from ddim_jax.runtime.values import NAMED_AT_MOST, quantity


def mask_of_picture(picture: Image.Image, labels: Labels = Labels(), *, lossy: bool, name: str) -> np.ndarray:
    """Reads a decoded image as a mask.

    With `labels` that name values, pixels go by their exact value: grey as it is stored, a palette by its index.
    Without:

    * Booleans, grey of any depth and palettes or RGB made of greys go by brightness. Palettes and RGB with colours must
      be exactly two of them, one black (the background).
    * With an alpha channel, or a colour that is marked transparent, that varies over an image of one colour, alpha is
      the mask; else the image is laid over black. Black that is marked transparent everywhere is an empty mask. Refused
      are other images that are transparent everywhere, and those whose transparent pixels have a colour and that show
      black alone, a drawing or the background, or dark and bright parts: either may be the background.
    * A palette that has one colour for two of the indices is a label map: its colours do not tell these apart.
    * Negative values are refused.
    * A constant mask is empty where it is 0 and full elsewhere (in a JPEG: elsewhere from 32 on).
    * A lossless file of few exact values that are not 0 and one other is a label map and refused; soft edges between
      two levels are none.
    * Otherwise the foreground is what lies above half of the range between the smallest and the largest value, of
      fractions up to 1 above .5. It is refused where all may be the edge of something brighter
      (`ddim_jax.imageio.soft_masks.soft_range`). Noise around the upper level alone (smallest value above three
      quarters of the largest) is a full mask; in a JPEG, values below 32 alone are an empty one.
    * An image is an error: more than half of the pixels inside of the range, a tenth of it from either end.
    * A third well-separated level is an error: a flat area, or a tenth of all pixels, at one value inside the range;
      and any third value where all of them are at most 15.

    Args:
      picture: one frame, any Pillow mode.
      labels: the classes.
      lossy: True if it came from a JPEG file.
      name: its name in an error, usually the path.

    Returns:
      uint8 [H, W], as `ddim_jax.labels` has it: of one class, values {0, 1}, and 255 where `labels.ignore` says so.

    Raises:
      LabelMapError: several values, and nothing says what they stand for.
      DataError: more than two levels, an image, colours that do not say which is the background, NaN, or a value that
        `labels` does not have.
    """
    if picture.mode == "P" or (picture.mode == "PA" and labels.by_value):
        return _mask_of_palette(picture, labels, name)
    if picture.mode == "1" and not labels.by_value and "transparency" not in picture.info:
        return np.asarray(picture).astype(np.uint8)
    values = _levels_image(picture, labels, lossy=lossy, name=name)
    if values.dtype == bool:  # a colour on black, which is noted as that and has no level
        return values.astype(np.uint8)
    return mask_of_numbers(values, labels, lossy=lossy, name=name)


def mask_of_numbers(
    values: np.ndarray,
    labels: Labels = Labels(),
    *,
    lossy: bool = False,
    name: str,
    soft: SoftRange | None = None,
) -> np.ndarray:
    """The part of `mask_of_picture` that goes by numbers alone: for readers of formats that store labels.

    Args:
      values: [H, W], whole numbers or finite floats.
      labels, lossy, name: as for `mask_of_picture`.
      soft: the range of a volume with soft edges that this is a slice of, which decides where it is read by level.

    Returns:
      uint8 [H, W], as `mask_of_picture`.

    Raises:
      LabelMapError, DataError: as `mask_of_picture`.
    """
    if labels.by_value:
        return _mask_by_value(values, labels, lossy=lossy, name=name)
    if values.dtype.kind not in "bu" and values.min() < 0:
        if counts := value_counts(values, most=MOST_LABELS):
            raise LabelMapError(name, counts)
        raise DataError(
            f"{name}: holds values from {values.min():g} to {values.max():g}, expected 0 and one other; save the mask "
            "as 0 and 255."
        )
    if soft is None:
        if not lossy:
            if counts := label_counts(values):
                raise LabelMapError(name, counts)
            _note_levels(values, name)
        if not lossy or values.max() >= JPEG_NOISE:
            soft = soft_range(lambda: iter((values,)), name)
    return mask_of_levels(values, lossy=lossy, name=name, soft=soft)


def _note_levels(values: np.ndarray, name: str) -> None:
    """Notes the foreground of a mask of two exact levels; one with soft edges has a level, but no value."""
    high = values.max()
    inside = int(np.count_nonzero(values == high))
    if high > 0 and inside + np.count_nonzero(values == 0) == values.size:
        note(plain_number(high), plain_number(high), inside, name)


def _mask_by_value(values: np.ndarray, labels: Labels, *, lossy: bool, name: str) -> np.ndarray:
    if lossy:
        raise DataError(f"{name}: is a JPEG, which does not keep exact values as data.labels needs; save it as PNG.")
    counts = value_counts(values)
    codes = labels.codes()
    if not labels.names:  # values that are ignored alone: what is left has to be 0 and one other
        rest = {value: pixels for value, pixels in counts.items() if value not in codes}
        if len(rest) > 1 or any(value < 0 for value in rest):
            raise LabelMapError(name, counts)
        for value, pixels in rest.items():
            note(value, value, pixels, name)
        codes |= dict.fromkeys(rest, 1)
    unknown = sorted(set(counts) - set(codes))
    if unknown:
        found = ", ".join(f"{value} ({quantity(counts[value], 'pixel')})" for value in first_of(unknown))
        more = f" and {len(unknown) - NAMED_AT_MOST} more" if len(unknown) > NAMED_AT_MOST else ""
        raise DataError(
            f"{name}: holds the values {found}{more}, which data.labels and data.ignore do not have; they have "
            f"{', '.join(map(str, sorted(codes)))}. Give them to a class, to the name background, or to data.ignore."
        )
    if values.dtype == np.uint8:
        table = np.zeros(256, np.uint8)
        table[[value for value in counts]] = [codes[value] for value in counts]
        return table[values]
    known = np.array(sorted(counts))
    table = np.array([codes[value] for value in known.tolist()], np.uint8)
    return table[np.searchsorted(known, values)]


def _mask_of_palette(picture: Image.Image, labels: Labels, name: str) -> np.ndarray:
    indices = np.asarray(picture if picture.mode == "P" else picture.getchannel(0)).astype(np.uint8)
    if labels.by_value:
        return mask_of_numbers(indices, labels, name=name)
    counts = value_counts(indices)
    table = _palette_of(picture)
    used = table[list(counts)]
    colours = table[:, :3].copy()
    if used.any():
        colours[list(counts)] = _seen(used, name)
    alike = set(counts) if len(counts) > 1 else {0, *counts}
    if len(counts) <= MOST_LABELS and len({tuple(colours[index]) for index in alike}) < len(alike):
        raise LabelMapError(name, counts)  # colours tell nothing of two indices that look alike
    _check_background(used, name)
    palette = colours[indices]
    if _is_grey(palette, 0):
        if label_counts(palette[..., 0]):
            raise LabelMapError(name, counts)  # with the indices, which data.labels goes by
        _note_palette(indices, palette, name)
        grey = palette[..., 0]
        return mask_of_levels(grey, lossy=False, name=name, soft=soft_range(lambda: iter((grey,)), name))
    if len(counts) > 2:
        raise LabelMapError(name, counts)
    black = ~palette.any(axis=-1)
    if len(counts) == 2 and not black.any():
        colours = np.unique(palette.reshape(-1, 3), axis=0).tolist()
        raise DataError(
            f"{name}: its palette has the colours {colours[0]} and {colours[-1]}, and none is black, the background. "
            f"Say in data.labels which of the indices {', '.join(map(str, counts))} are foreground."
        )
    _note_palette(indices, palette, name)
    return (~black).astype(np.uint8)


def _palette_of(picture: Image.Image) -> np.ndarray:
    """Its colours with alpha, uint8 [256, 4]; black where it ends early."""
    every = Image.frombytes("P", (256, 1), bytes(range(256)))
    every.putpalette(picture.getpalette("RGB"))
    if "transparency" in picture.info:
        every.info["transparency"] = picture.info["transparency"]
    return np.array(every.convert("RGBA"))[0]


def _note_palette(indices: np.ndarray, palette: np.ndarray, name: str) -> None:
    """Notes the foreground of a palette of black and one other colour: by its colour, named by its index."""
    inside = palette.any(axis=-1)
    indices, colours = np.unique(indices[inside]), palette[inside]
    if len(indices) == 1:
        red, green, blue = colours[0].tolist()
        note(red if red == green == blue else (red, green, blue), int(indices[0]), len(colours), name)


def _levels_image(picture: Image.Image, labels: Labels, *, lossy: bool, name: str) -> np.ndarray:
    """One number a pixel, [H, W], so that the foreground is the larger one: uint8 where the file has no more, else
    float64; booleans of a colour on black."""
    is_clear = "transparency" in picture.info and not labels.by_value and np.asarray(picture).any()
    if picture.mode in ("LA", "PA", "RGBa", "RGBA") or (is_clear and picture.mode in ("1", "L", "RGB")):
        return _without_alpha(np.asarray(picture.convert("RGBA")), labels, name)
    if picture.mode in ("1", "L"):
        return np.asarray(picture).astype(np.uint8)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.float64)
        if is_clear:
            raise DataError(f"{name}: has a transparent value among 16 bits, expected none; save it without alpha.")
        if not np.isfinite(values).all():
            raise DataError(f"{name}: holds NaN or infinite values; save the mask as 0 and 255.")
        return values
    rgb = np.asarray(picture.convert("RGB"))
    return _from_colours(rgb, labels, tolerance=24 if lossy else 2, name=name)


def over_black(rgba: np.ndarray) -> np.ndarray:
    """An image with alpha, uint8 [H, W, 4], laid over black: uint8 [H, W, 3], colour times alpha / 255, rounded."""
    product = rgba[..., :3].astype(np.uint16) * rgba[..., 3:]
    product += 127  # at most 65152; a multiple of 1/255 is never half way between two whole numbers
    return (product // np.uint16(255)).astype(np.uint8)


def _without_alpha(rgba: np.ndarray, labels: Labels, name: str) -> np.ndarray:
    colours, alpha = rgba[..., :3], rgba[..., 3]
    if alpha.any() and alpha.min() < alpha.max() and (colours == colours[0, 0]).all():
        return alpha
    if not labels.by_value:
        _check_background(rgba, name)
    elif alpha.min() < alpha.max() and (partly := int(np.count_nonzero((alpha > 0) & (alpha < 255)))):
        raise DataError(
            f"{name}: {quantity(partly, 'pixel is', 'pixels are')} transparent in part, and data.labels and "
            "data.ignore go by exact values; save the mask without alpha."
        )
    return _from_colours(_seen(rgba, name, by_value=labels.by_value), labels, tolerance=2, name=name)


def _seen(rgba: np.ndarray, name: str, by_value: bool = False) -> np.ndarray:
    """The colours of pixels, or of a palette, uint8 [..., 4], laid over black: uint8 [..., 3].

    Where all that can be seen is black, alpha as a grey takes its place, unless values count.
    """
    alpha = rgba[..., 3]
    if not alpha.any():
        raise DataError(
            f"{name}: every pixel is transparent (alpha is 0), so nothing says if its colours are a mask; expected one "
            "that can be seen. Save it without alpha."
        )
    if alpha.min() == alpha.max():
        return rgba[..., :3]
    if not by_value and not rgba[alpha > 0, :3].any():
        return np.repeat(alpha[..., None], 3, axis=-1)
    return over_black(rgba)


def _check_background(rgba: np.ndarray, name: str) -> None:
    """Refuses pixels, or the colours of a palette, of which the bright or the hidden ones may be the foreground."""
    seen, hidden = rgba[rgba[..., 3] > 0, :3].max(axis=-1), rgba[rgba[..., 3] == 0, :3]
    if seen.size and hidden.any() and (not seen.any() or 2 * int(seen.min()) < int(seen.max())):
        found = f"go from {seen.min()} to {seen.max()}" if seen.any() else "are black"
        raise DataError(
            f"{name}: its transparent pixels have a colour, up to {hidden.max()}, and those that can be seen {found}, "
            "so nothing says which pixels are background; save the mask without transparency, with 0 for the "
            "background and 255 for the foreground."
        )


def _from_colours(rgb: np.ndarray, labels: Labels, *, tolerance: int, name: str) -> np.ndarray:
    if _is_grey(rgb, tolerance):
        return rgb[..., 1]
    # As one number a pixel: NumPy takes minutes to sort the rows of a large photograph.
    numbers, counts = np.unique(rgb.astype(np.int32) @ np.array([2**16, 2**8, 1], np.int32), return_counts=True)
    colours = np.stack([numbers >> 16, (numbers >> 8) & 255, numbers & 255], axis=-1)
    if not labels.by_value and len(colours) <= 2 and (len(colours) == 1 or not colours[0].any()):
        if colours[-1].any():
            note(tuple(colours[-1].tolist()), None, int(counts[-1]), name)
        return rgb.max(axis=-1) > 0
    most = np.sort(np.argsort(-counts, kind="stable")[:5])[::-1]  # in one order in all files
    found = [tuple(colour) for colour in colours[most].tolist()]
    such = f"one grey number for each colour, such as 1 for {next(filter(any, found))},"
    raise DataError(
        f"{name}: holds {len(colours)} colours (most often {', '.join(map(str, found))}), expected grey levels or one "
        "colour on black. Save the mask as grey, with 0 for the background and 255 for the foreground, or as a palette "
        f"or {such if len(colours) <= MOST_LABELS else 'grey numbers'} that data.labels names."
    )


def _is_grey(rgb: np.ndarray, tolerance: int) -> bool:
    return bool((rgb.max(axis=-1) - rgb.min(axis=-1) <= tolerance).all())

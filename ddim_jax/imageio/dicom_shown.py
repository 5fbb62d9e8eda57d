"""Frames of DICOM files as images: grey levels by window or table, colours as RGB."""

import os
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from ddim_jax.imageio.clinic import errors_naming
from ddim_jax.imageio.dicom import presentation_shape, white_is_low
from ddim_jax.imageio.dicom_frames import read_frame
from ddim_jax.imageio.dicom_tables import Table, palette_colours, read_table
from ddim_jax.imageio.grey import linear, robust_limits, window_of
from ddim_jax.imageio.images import AGAIN, ReadOptions
from ddim_jax.runtime.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

TABLE = "table"
_EXACT = "LINEAR_EXACT"
_LARGEST = 1e30  # of a slope and an intercept; with values of 32 bits, float32 holds what they give


def shown_frame(
    path: str | os.PathLike,
    header: "Dataset",
    index: int,
    options: ReadOptions,
    limits: tuple[float, float] | None = None,
    window: tuple[float, float, str] | None = None,
) -> np.ndarray:
    """A frame as an image, uint8 [H, W, 3].

    Grey values go through the modality LUT and then the window of `options`, `window`, the file's VOI LUT or window, or
    `limits`, or the range of 99% of the frame's values; 8 bits without any of these stay as they are. Where
    `white_is_low`, as of MONOCHROME1, they are inverted. Palettes and YBR become RGB, of which 8 bits are kept.

    Another centre and width change nothing else: the window of `options` is shown by the function of the window that it
    replaces (PS3.3 C.11.2.1.2 and C.11.2.1.3; LINEAR where the file names none). Where it replaces none, it goes
    exactly from centre - width / 2 to centre + width / 2.

    Args:
      path: of the file.
      header: as `picture_header` gives it.
      index: of the frame, from 0.
      options: how to read.
      limits: the values that become black and white where the file says nothing, as `stored_limits` gives them.
      window: of another frame, as `own_window` gives it, in the place of the file's own.

    Raises:
      DataError: the frame is damaged or missing, or no installed library decodes it; the message names the file.
    """
    stored = read_frame(path, header, index)
    with errors_naming(path):
        colours = str(header.get("PhotometricInterpretation", ""))
        if stored.ndim == 3:
            return _eight_bits(stored, int(header.BitsStored) if stored.dtype.itemsize > 1 else 8)
        if colours == "PALETTE COLOR":
            least, _ = _stored_range(_frame_attributes(path, header, 0))
            return _eight_bits(*palette_colours(path, header, stored, _is_big_endian(header), least))
        attributes = _frame_attributes(path, header, index)
        low, high = int(stored.min()), int(stored.max())
        if high - low < 2**16:  # one value of each instead of millions
            grey = _grey(np.arange(low, high + 1).astype(stored.dtype), stored, attributes, options, limits, window)
            grey = grey[np.subtract(stored, low, dtype=np.int64)]  # which may not fit into int16
        else:
            grey = _grey(stored, stored, attributes, options, limits, window)
        if white_is_low(header):
            grey = 255 - grey
        return np.repeat(grey[..., None], 3, axis=-1)


def stored_limits(path: str | os.PathLike, header: "Dataset", index: int) -> tuple[float, float]:
    """The range of 99% of a frame's values after the modality LUT, without its padding."""
    stored = read_frame(path, header, index)
    with errors_naming(path):
        attributes = _frame_attributes(path, header, index)
        return robust_limits(_modality(_without_padding(stored, attributes), attributes))


def shown_window(path: str | os.PathLike, header: "Dataset", index: int) -> tuple[float, float] | None:
    """The centre and width by which `shown_frame` shows a frame without others; None for colours or a table."""
    with errors_naming(path):
        attributes = _frame_attributes(path, header, index)
        colours = str(header.get("PhotometricInterpretation", ""))
        if not colours.startswith("MONOCHROME") or "VOILUTSequence" in attributes:
            return None
        if (window := _window(attributes)) is not None:
            return window[:2]
        says_range = says_its_range(path, header)  # the bits as they are
    return window_of(*(_stored_range(attributes) if says_range else stored_limits(path, header, index)))


def own_window(path: str | os.PathLike, header: "Dataset", index: int) -> tuple[float, float, str] | str | None:
    """The centre, width and function that a frame's file says; `TABLE` for a VOI LUT, None where there is neither."""
    attributes = _frame_attributes(path, header, index)
    return TABLE if "VOILUTSequence" in attributes else _window(attributes)


def differ(windows: Collection[tuple[float, float, str] | str | None]) -> bool:
    """True if slices with these `own_window`s share one in a series: they are of several kinds, and none a table."""
    return len(set(windows)) > 1 and TABLE not in windows


def window_note(path: str | os.PathLike, header: "Dataset", index: int, options: ReadOptions) -> tuple[str, ...]:
    """Says in a note which of several windows of a frame's file is used, or that none can be; () for nothing to say."""
    with errors_naming(path):
        attributes = _frame_attributes(path, header, index)
        has_window = "WindowCenter" in attributes or "WindowWidth" in attributes
        if options.window is not None or not has_window or "VOILUTSequence" in attributes:
            return ()
        if not str(header.get("PhotometricInterpretation", "")).startswith("MONOCHROME"):
            return ()
        if (window := _window(attributes)) is not None:
            centres, widths = (_each(attributes[name]) for name in ("WindowCenter", "WindowWidth"))
            count = len(set(zip(centres, widths, strict=False)))
            used = f"centre {window[0]:g}, width {window[1]:g}; another can be given"
            return (f"first of {count} windows used ({used})",) if count > 1 else ()
        values = (_first(attributes.get(name)) for name in ("WindowCenter", "WindowWidth"))
        centre, width = ("no number" if np.isnan(value) else f"{value:g}" for value in values)
        return (f"window not used (its centre is {centre} and its width {width}; the range of the values is)",)


def polarity_note(path: str | os.PathLike, header: "Dataset") -> tuple[str, ...]:
    """Says that two attributes of a file contradict each other on which values are white, in a note; else ()."""
    with errors_naming(path):
        shape, colours = presentation_shape(header), str(header.get("PhotometricInterpretation", ""))
        if {"IDENTITY": "MONOCHROME1", "INVERSE": "MONOCHROME2"}.get(shape) != colours:
            return ()
        white = "smallest" if white_is_low(header) else "largest"
        return (f"PresentationLUTShape followed ({shape}, which {colours} contradicts; the {white} value is white)",)


def says_its_range(path: str | os.PathLike, header: "Dataset") -> bool:
    """True if a file says how its values become grey levels, so that `stored_limits` are not needed."""
    attributes = _frame_attributes(path, header, 0)
    colours = str(header.get("PhotometricInterpretation", ""))
    said = _is_plain(attributes) or "VOILUTSequence" in attributes or _window(attributes) is not None
    return said or not colours.startswith("MONOCHROME")


def _frame_attributes(path: str | os.PathLike, header: "Dataset", index: int) -> dict[str, Any]:
    """The attributes that decide how a frame is shown, from its functional groups where the file has such."""
    groups = [header]
    for name, item in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", index)):
        sequence = header.get(name) or []
        if item < len(sequence):
            groups += [part[0] for group in ("PixelValueTransformationSequence", "FrameVOILUTSequence")
                       if (part := sequence[item].get(group))]  # fmt: skip
    names = ("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth",
             "VOILUTFunction", "VOILUTSequence", "BitsStored", "PixelRepresentation", "PixelPaddingValue",
             "PixelPaddingRangeLimit")  # fmt: skip
    values = ((name, _value(path, group, name)) for group in groups for name in names)
    found = {name: value for name, value in values if value is not None}
    return found | {"big_endian": _is_big_endian(header), "path": path}


def _value(path: str | os.PathLike, group: "Dataset", name: str) -> Any:
    """An attribute; None where it is missing or empty, NaN for what is no number where there is a way without it."""
    try:
        value = group.get(name)
    except Exception:  # the library fails in its own ways, as by the value
        if name in ("WindowCenter", "WindowWidth"):
            return np.nan
        raise DataError(f"{path}: its {name} has a form that DICOM does not allow there; {AGAIN}.") from None
    return None if value in (None, "", []) else value


def _is_big_endian(header: "Dataset") -> bool:
    return not header.file_meta.TransferSyntaxUID.is_little_endian


def _table(attributes: dict[str, Any], sequence: str) -> Table:
    """The table in a sequence of one."""
    return read_table(attributes["path"], attributes[sequence][0], attributes["big_endian"], sequence=sequence)


def _modality(stored: np.ndarray, attributes: dict[str, Any]) -> np.ndarray:
    """Values in the file's units, such as Hounsfield units."""
    if "ModalityLUTSequence" in attributes:
        return _table(attributes, "ModalityLUTSequence").look_up(stored, _stored_range(attributes)[0])
    slope, intercept = _rescale(attributes)
    if not (1 / _LARGEST < abs(slope) < _LARGEST and abs(intercept) < _LARGEST):
        raise DataError(
            f"{attributes['path']}: has the RescaleSlope {slope:g} and the RescaleIntercept {intercept:g}, which give "
            "no values; expected finite numbers and a slope that is not 0."
        )
    return stored if (slope, intercept) == (1, 0) else stored * np.float32(slope) + np.float32(intercept)


def _rescale(attributes: dict[str, Any]) -> tuple[float, float]:
    """The slope and the intercept of a file; NaN for what is no number."""
    return _only(attributes.get("RescaleSlope", 1)), _only(attributes.get("RescaleIntercept", 0))


def _is_plain(attributes: dict[str, Any]) -> bool:
    """True for values of 8 bits that no modality LUT changes: without a window, they are the grey levels."""
    is_changed = "ModalityLUTSequence" in attributes or _rescale(attributes) != (1, 0)
    return int(attributes["BitsStored"]) <= 8 and not is_changed


def _grey(
    stored: np.ndarray,
    frame: np.ndarray,
    attributes: dict[str, Any],
    options: ReadOptions,
    limits: tuple[float, float] | None,
    window: tuple[float, float, str] | None,
) -> np.ndarray:
    """Stored values as grey levels, uint8; `frame` has all that there are, for their range."""
    values = _modality(stored, attributes)
    if options.window is not None:
        *_, function = window or _window(attributes) or (_EXACT,)
        return _windowed(values, *options.window, function)
    if window is None and "VOILUTSequence" in attributes:
        table, ends = _table(attributes, "VOILUTSequence"), _modality(np.array(_stored_range(attributes)), attributes)
        return linear(table.look_up(values, ends.min()), 0, 2**table.bits - 1)
    if (window := window or _window(attributes)) is not None:
        return _windowed(values, *window)
    if _is_plain(attributes):
        return linear(values, *_stored_range(attributes))
    return linear(values, *(limits or robust_limits(_modality(_without_padding(frame, attributes), attributes))))


def _windowed(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Values in the file's units as grey levels, uint8, by the function of a window (PS3.3 C.11.2.1.2, C.11.2.1.3)."""
    if function == "SIGMOID":
        exponent = -4 * (values.astype(np.float64) - centre) / max(width, 1e-6)
        return np.round(255 / (1 + np.exp(np.clip(exponent, -60, 60)))).astype(np.uint8)
    if function == "LINEAR" and width >= 1:  # less is LINEAR_EXACT's alone
        centre, width = centre - 0.5, max(width - 1, 1e-6)
    return linear(values, centre - width / 2, centre + width / 2)


def _stored_range(attributes: dict[str, Any]) -> tuple[float, float]:
    """The least and the largest value that the stored bits can have."""
    values = 2.0 ** int(attributes["BitsStored"])
    low = -values / 2 if int(attributes.get("PixelRepresentation", 0)) == 1 else 0.0
    return low, low + values - 1


def _window(attributes: dict[str, Any]) -> tuple[float, float, str] | None:
    """Centre, width and function of the first window of a file that has one that can be used."""
    first = [_first(attributes.get(name)) for name in ("WindowCenter", "WindowWidth")]
    usable = np.isfinite(first).all() and first[1] > 0
    return (*first, str(attributes.get("VOILUTFunction", "LINEAR"))) if usable else None


def _each(value: Any) -> list[Any]:
    """The values of an attribute, which may have one or several."""
    return list(value) if isinstance(value, list | tuple) or hasattr(value, "insert") else [value]


def _first(value: Any) -> float:
    """A number, or the first of several; NaN where there is none."""
    return _only(_each(value)[0])


def _only(value: Any) -> float:
    """A number; NaN for none, several, or what is no number."""
    try:
        return np.nan if value is None else float(value)
    except (TypeError, ValueError):
        return np.nan


def _without_padding(stored: np.ndarray, attributes: dict[str, Any]) -> np.ndarray:
    """The values that are no padding, which is one value or all between two (PS3.3 C.7.5.1.1.2); all where none are."""
    first = attributes.get("PixelPaddingValue")
    if first is None:
        return stored
    ends = [int(first), int(attributes.get("PixelPaddingRangeLimit", first))]
    low, high = np.sort(np.array(ends).astype(stored.dtype))  # some files give a negative value as unsigned
    kept = stored[(stored < low) | (stored > high)]
    return kept if kept.size else stored


def _eight_bits(colours: np.ndarray, bits: int) -> np.ndarray:
    """[H, W, 3] of so many bits as uint8: the upper 8 of them."""
    return np.ascontiguousarray(colours[..., :3] >> max(0, bits - 8)).astype(np.uint8)

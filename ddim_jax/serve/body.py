"""The result of a checkpoint as JSON has it."""

from collections.abc import Mapping, Sequence
from typing import Any

from ddim_jax.imageio.images import Picture
from ddim_jax.imageio.writers import Context
from ddim_jax.inference.calibration import without_place
from ddim_jax.inference.sliced_image import SlicedImage, summed
from ddim_jax.inference.unlikeness import UNLIKE, is_unlike
from ddim_jax.labels import Labels
from ddim_jax.runtime.values import quantity
from ddim_jax.serve.network import ServedNetwork

_BOUNDS = ("area_low", "area_high", "dice_low", "unlike", "area_mm2", "area_low_mm2", "area_high_mm2")


def network_body(
    network: ServedNetwork,
    context: Context,
    source: SlicedImage | None,
    facts: Sequence[Mapping[str, Any]],
    slices: Sequence[Mapping[str, Any]],
    notes: Sequence[str],
) -> dict[str, Any]:
    """A checkpoint and its result, without the files of the whole source.

    Args:
      network: the checkpoint.
      context: of the results.
      source: of the slices; None for an image of a format that has no more than one.
      facts: of each slice, as `record_fields` has them.
      slices: each as `slice_body` has it.
      notes: on the slices, beside those of the source.
    """
    segmenter, calibration, about = network.segmenter, context.calibration, network.about()
    window = slices[len(slices) // 2]["window"]
    volumes = _volumes(facts, context.labels, source)
    return about | {
        "classes": [one | {"volume_ml": volumes.get(one["name"])} for one in about["classes"]],
        "options": context.options.as_dict(),
        "calibration": None if calibration is None else calibration.in_words(),
        "not_calibrated": without_place(segmenter.calibration(context.options)[1]) or None,
        "coverage": None if calibration is None else calibration.coverage,
        "not_judged": segmenter.reference()[1] or None,
        "window": window,
        "window_inverted": window is not None and source.is_inverted,
        "notes": [
            *notes,
            *(() if source is None else source.notes),
            *([_why_no_volume(source)] if len(slices) > 1 and not volumes else []),
        ],
        "slices": list(slices),
    }


def _volumes(facts: Sequence[Mapping[str, Any]], labels: Labels, source: SlicedImage | None) -> dict[str, float]:
    """Millilitres of each class in all slices by its name; {} where the source does not say what a voxel takes."""
    whole = {} if source is None else summed(facts, source.stack.lies_in_space, source.stack.voxel_mm3)
    return _of_classes(whole, "volume_ml", "volumes_ml", labels)


def _of_classes(facts: Mapping[str, Any], one: str, several: str, labels: Labels) -> dict[str, float]:
    """A figure of each class by its name, from the fields that facts have of it; {} where they have none."""
    return facts.get(several) or ({labels.class_names[0]: facts[one]} if one in facts else {})


def _why_no_volume(source: SlicedImage) -> str:
    if source.stack.lies_in_space is False:
        return "no volume (the slices have no places of their own: frames in time, or positions that are missing)"
    return "no volume (spacing in three dimensions is missing: the size of a pixel, or even distances of the slices)"


def slice_body(facts: Mapping[str, Any], labels: Labels, source: SlicedImage | None, index: int) -> dict[str, Any]:
    """A slice without its files: its figures, and its place and window, None for what its source does not say."""
    areas = _of_classes(facts, "area", "areas", labels)
    areas_mm2 = _of_classes(facts, "area_mm2", "areas_mm2", labels)
    classes = []
    for name in labels.class_names:
        one = {"name": name, "area": areas[name]} | ({"area_mm2": areas_mm2[name]} if areas_mm2 else {})
        bounds = facts.get("bounds", {}).get(name, {})
        classes.append(one | {field: bounds[field] for field in _BOUNDS if field in bounds})
    same = ("height", "width", "mean_uncertainty", "doubt", "unlikeness")
    warning = UNLIKE if is_unlike(facts["unlikeness"]) else None
    found = {name: facts[name] for name in same}
    return found | {"warning": warning, "classes": classes} | _geometry(source, index)


def _geometry(source: SlicedImage | None, index: int) -> dict[str, Any]:
    """Returns window, edges and spacing of a slice of a DICOM or NIfTI source; None for what it does not say."""
    if source is None:
        return dict.fromkeys(("window", "edges", "aspect", "pixel_mm", "pixel_mm2", "area_at"))
    stack = source.stack
    window, aspect, spacing = stack.window(index), stack.aspect(index), stack.pixel_mm(index)
    return {
        "window": None if window is None else [float(f"{value:.6g}") for value in window],
        "edges": stack.edges(index),
        "aspect": None if aspect is None else float(f"{aspect:.6g}"),
        "pixel_mm": None if spacing is None else [float(f"{value:.6g}") for value in spacing],
        "pixel_mm2": stack.pixel_area(index),
        "area_at": stack.area_at,
    }


def notes_of(picture: Picture) -> list[str]:
    """Notes on an image that was read, its range of values among them."""
    deep = picture.range
    return [*picture.notes, *([f"values from {deep[0]:g} to {deep[1]:g} are black to white"] if deep else [])]


def left_out_note(left_out: Mapping[str, int]) -> list[str]:
    """A note on the files of an upload that are not segmented, by their kind; [] where there are none."""
    kinds = ", ".join(f"{kind} ({count})" for kind, count in sorted(left_out.items()))
    return [f"left out ({quantity(sum(left_out.values()), 'file')}: {kinds})"] if kinds else []

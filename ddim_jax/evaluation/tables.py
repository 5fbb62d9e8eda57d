"""The numbers as files and on the screen."""

import csv
import os
from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from ddim_jax.aggregation import PROTOCOLS
from ddim_jax.data.splits import FEW
from ddim_jax.evaluation.intervals import bounds_of, true_area
from ddim_jax.evaluation.scoring import ImageResult
from ddim_jax.evaluation.summary import cut_in_words
from ddim_jax.inference.calibration import Calibrated
from ddim_jax.inference.unlikeness import Reference, with_unlikeness
from ddim_jax.labels import Labels
from ddim_jax.metrics import Bounds, Counts
from ddim_jax.runtime.atomic import atomic_path
from ddim_jax.runtime.printable import spreadsheet_cell
from ddim_jax.runtime.values import quantity


def write_per_image(
    path: str | os.PathLike,
    results: Sequence[ImageResult],
    calibration: Calibrated | None = None,
    labels: Labels = Labels(),
    reference: Reference | None = None,
) -> None:
    """Writes one row per image, in the order of the data set, atomically.

    Columns: id, height, width (as scored), uncertainty, doubt, unlikeness (as `ddim_jax.inference.Segmentation` has it;
    empty without a reference), then every measure and the four pixel counts of each protocol: those of "mean" by their
    names (`dice`), those of others as `<protocol>_<measure>` (`paper_dice`). Of several classes these are means
    (counts: sums), and those of each class follow as `<class>_<measure>` and `<protocol>_<class>_<measure>`. Then for
    each class, of several with `<class>_` in front, the pixels `area` of the mask of "mean", `true_area`, and
    `area_inner` and `area_outer`, between which it lies by the probability alone; with a calibration also `area_low`,
    `area_high`, `dice_low` and `unlike` (True: these bounds are not made to hold for that image; empty: not judged).
    Last, of several annotators, the measures of the samples against them, such as `ged_16`. Numbers are written in
    full, so means can be recomputed from the file; ids as `spreadsheet_cell` has them.
    """
    fields = [*results[0].scores["mean"].measures, *Counts._fields]
    of_classes = [f"{one}_{field}" for one in results[0].scores["mean"].classes for field in fields]
    header = ["id", "height", "width", "uncertainty", "doubt", "unlikeness"]
    for name in PROTOCOLS:
        header += [field if name == "mean" else f"{name}_{field}" for field in [*fields, *of_classes]]
    bounds = ("area", "true_area", "area_inner", "area_outer", *(Bounds._fields if calibration else ()))
    prefixes = [f"{name}_" for name in labels.class_names] if labels.several else [""]
    header += [prefix + name for prefix in prefixes for name in bounds]
    header += results[0].hypotheses
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for result in results:
            row = [spreadsheet_cell(result.id), *result.shape, result.uncertainty, result.doubt]
            unlikeness = None if reference is None else reference.unlikeness(result.descriptor)
            row.append(unlikeness)
            for name in PROTOCOLS:
                for score in (result.scores[name], *result.scores[name].classes.values()):
                    row += [*score.measures.values(), *score.counts]
            scores = list(result.scores["mean"].classes.values()) or [result.scores["mean"]]
            found = [with_unlikeness(one, unlikeness) for one in bounds_of(result, calibration)] if calibration else ()
            for said, score, own in zip(result.statements, scores, found or [()] * len(scores), strict=True):
                row += [said.area, true_area(score), said.inner, said.outer, *own]
            row += result.hypotheses.values()
            writer.writerow(row)


def summary_table(metrics: dict[str, Any]) -> Table:
    """A table of the protocols for the terminal, made of what is in `metrics.json`."""
    size = {"model": "resized", "native": "native size", "tiles": "in tiles"}[metrics["size"]]
    scored = "each image's own size" if metrics["resolution"] == "native" else "the working size"
    count = metrics.get("groups", metrics["images"])  # earlier files do not say the groups
    kind, of_groups = ("image", "") if count == metrics["images"] else ("group", f" of {quantity(count, 'group')}")
    few = f"\n{quantity(count, kind)}: too few for the means to say much" if count < FEW else ""
    if metrics.get("hypotheses"):
        few += f"\nthe truth is the consensus of {metrics['hypotheses']['annotators']} annotators"
        if consensus := metrics["hypotheses"].get("consensus"):  # earlier files do not say it
            few += f": {consensus}"
    folds = metrics.get("folds")
    whole = metrics.get("of_folds", folds)  # earlier files do not say it
    of_folds = f" of {folds}{f' of {whole}' if folds < whole else ''} folds" if folds else ""
    table = Table(
        title=f"{escape(metrics['dataset'])} {metrics['split']}: {quantity(metrics['images'], 'image')}{of_folds}, "
        f"{quantity(metrics['samples'], 'sample')} x {quantity(metrics['steps'], 'step')}, "
        f"fused by {metrics['ensemble']}, {size}",
        caption=(f"scored: {escape(metrics['scored'])}\n" if metrics.get("scored") else "")  # of earlier files unsaid
        + f"scored at {scored}; mean over images [95% interval{of_groups}]; hd95 in pixels; 80% kept: without "
        "the most doubtful images"
        + few
        + _lost(metrics)
        + (f"\n{escape(metrics['note'])}" if metrics.get("note") else ""),
    )
    table.add_column("measure")
    own = metrics.get("protocol", "mean")  # the one that the checkpoint's masks are made with; of earlier files unsaid
    protocols = sorted(PROTOCOLS, key=lambda name: name != own)
    for name in protocols:
        table.add_column(f"{name} ({cut_in_words(metrics['protocols'][name]['threshold'])})", justify="right")
    for measure in metrics["protocols"]["mean"]["per_image"]:
        values = [metrics["protocols"][name]["per_image"][measure] for name in protocols]
        digits = 4 if all(value["high"] <= 1 for value in values) else 2
        table.add_row(escape(measure), *(_cell(value, digits) for value in values))
    for one in metrics["protocols"]["mean"].get("classes", ()):
        values = [metrics["protocols"][name]["classes"][one]["per_image"]["dice"] for name in protocols]
        table.add_row(f"dice, {escape(one)}", *map(_cell, values))
    if volumes := metrics.get("volumes"):  # files of earlier versions do not say them
        found = [metrics["protocols"][name]["per_volume"]["dice"] for name in protocols]
        of_volumes = quantity(volumes, "volume")
        table.add_row(f"dice, {of_volumes}", *map(_cell, found))
        for one in metrics["protocols"]["mean"].get("classes", ()):
            values = [metrics["protocols"][name]["classes"][one]["per_volume"]["dice"] for name in protocols]
            table.add_row(f"dice, {escape(one)}, {of_volumes}", *map(_cell, values))
    table.add_row("dice, pooled", *(f"{metrics['protocols'][name]['pooled']['dice']:.4f}" for name in protocols))
    hypotheses = metrics.get("hypotheses") or {"per_image": {}}  # of one truth, and of earlier versions, there are none
    for measure, value in hypotheses["per_image"].items():
        cell = _cell(value)
        label = f"{measure}, {hypotheses['annotators']} annotators"
        table.add_row(escape(label), *(cell if name == "mean" else "" for name in protocols))
    for label, value in (
        ("calibration error", metrics["calibration"]["ece"]),
        ("dice, 80% kept", metrics["risk_coverage"]["kept_dice"]),
    ):
        table.add_row(label, *(f"{value:.4f}" if name == "mean" else "" for name in protocols))
    bounds = metrics.get("bounds", {"classes": {}})  # files of earlier versions have none
    for one, found in bounds["classes"].items():
        for name, label in (("area", "area interval holds"), ("dice_low", "lowest dice holds")):
            if name in found:
                part = found[name]
                cell = rf"{part['coverage']:.4f} \[{part['low']:.4f}, {part['high']:.4f}]"
                whose = f", {escape(one)}" if len(bounds["classes"]) > 1 else ""
                whose += " (calibrated on these)" if bounds["same_pictures"] else ""
                table.add_row(label + whose, *(cell if name == "mean" else "" for name in protocols))
    unlike = metrics.get("unlikeness", {})
    if "share" in unlike:
        cell = rf"{unlike['share']:.4f} \[{unlike['low']:.4f}, {unlike['high']:.4f}]"
        whose = " (calibrated on these)" if bounds.get("same_pictures") else ""
        table.add_row("unlike images" + whose, *(cell if name == "mean" else "" for name in protocols))
    return table


def _lost(metrics: dict[str, Any]) -> str:
    """A line on masks that are lost at the size the network works at; "" where none is."""
    left = metrics.get("working_size")
    if not left or not left["lost"]:
        return ""
    size = metrics["image_size"]
    return (
        f"\n{left['lost']} of {quantity(left['masks'], 'mask loses', 'masks lose')} a class at {size} x {size}, where "
        f"the network works: the true masks of that size, enlarged, have a Dice of {left['resized_dice']:.2f}; train "
        "on crops (data.crop) or at a larger data.image_size"
    )


def _cell(value: dict[str, float], digits: int = 4) -> str:
    """A mean and its interval; "-" for one without a width, of one image or of images that are all alike."""
    interval = f"{value['low']:.{digits}f}, {value['high']:.{digits}f}" if value["low"] < value["high"] else "-"
    return rf"{value['mean']:.{digits}f} \[{interval}]"

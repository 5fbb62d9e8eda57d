"""The numbers as files and on the screen."""

import csv
import os
from collections.abc import Iterator, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from ddim_jax.aggregation import PROTOCOLS
from ddim_jax.data.split_warnings import FEW
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
    own = metrics.get("protocol", "mean")  # the one that the checkpoint's masks are made with; of earlier files unsaid
    protocols = sorted(PROTOCOLS, key=lambda name: name != own)
    table = Table(title=_title(metrics), caption=_caption(metrics))
    table.add_column("measure")
    for name in protocols:
        table.add_column(f"{name} ({cut_in_words(metrics['protocols'][name]['threshold'])})", justify="right")
    for label, cells in _rows([metrics["protocols"][name] for name in protocols], metrics.get("volumes")):
        table.add_row(label, *cells)
    for label, cell in _rows_of_mean(metrics):
        table.add_row(label, *(cell if name == "mean" else "" for name in protocols))
    return table


def _title(metrics: dict[str, Any]) -> str:
    size = {"model": "resized", "native": "native size", "tiles": "in tiles"}[metrics["size"]]
    folds = metrics.get("folds")
    whole = metrics.get("of_folds", folds)  # earlier files do not say it
    of_folds = f" of {folds}{f' of {whole}' if folds < whole else ''} folds" if folds else ""
    return (
        f"{escape(metrics['dataset'])} {metrics['split']}: {quantity(metrics['images'], 'image')}{of_folds}, "
        f"{samples_in_words(metrics)} x {quantity(metrics['steps'], 'step')}, "
        f"fused by {metrics['ensemble']}, {size}"
    )


def _caption(metrics: dict[str, Any]) -> str:
    scored = "each image's own size" if metrics["resolution"] == "native" else "the working size"
    count = metrics.get("groups", metrics["images"])  # earlier files do not say the groups
    kind, of_groups = ("image", "") if count == metrics["images"] else ("group", f" of {quantity(count, 'group')}")
    text = f"scored: {escape(metrics['scored'])}\n" if metrics.get("scored") else ""  # of earlier files unsaid
    text += f"scored at {scored}; mean over images [95% interval{of_groups}]; hd95 in pixels; 80% kept: without "
    text += "the most doubtful images"
    text += f"\n{quantity(count, kind)}: too few for the means to say much" if count < FEW else ""
    if metrics.get("hypotheses"):
        text += f"\nthe truth is the consensus of {metrics['hypotheses']['annotators']} annotators"
        if consensus := metrics["hypotheses"].get("consensus"):  # earlier files do not say it
            text += f": {consensus}"
    return text + _empty(metrics) + _lost(metrics) + (f"\n{escape(metrics['note'])}" if metrics.get("note") else "")


def _rows(protocols: Sequence[dict[str, Any]], volumes: int | None) -> Iterator[tuple[str, list[str]]]:
    """Labels, and for each a cell of each protocol; `volumes` is None in files of earlier versions, and without any."""
    for measure in protocols[0]["per_image"]:
        values = [protocol["per_image"][measure] for protocol in protocols]
        digits = 4 if all(value["high"] <= 1 for value in values) else 2
        yield escape(measure), [_cell(value, digits) for value in values]
    classes = protocols[0].get("classes", ())
    for one in classes:
        yield f"dice, {escape(one)}", [_cell(protocol["classes"][one]["per_image"]["dice"]) for protocol in protocols]
    if volumes:
        of_volumes = quantity(volumes, "volume")
        yield f"dice, {of_volumes}", [_cell(protocol["per_volume"]["dice"]) for protocol in protocols]
        for one in classes:
            found = [protocol["classes"][one]["per_volume"]["dice"] for protocol in protocols]
            yield f"dice, {escape(one)}, {of_volumes}", [_cell(value) for value in found]
    yield "dice, pooled", [f"{protocol['pooled']['dice']:.4f}" for protocol in protocols]


def _rows_of_mean(metrics: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Labels and cells of what the protocol "mean" alone has."""
    hypotheses = metrics.get("hypotheses") or {"per_image": {}}  # of one truth, and of earlier versions, there are none
    for measure, value in hypotheses["per_image"].items():
        yield escape(f"{measure}, {hypotheses['annotators']} annotators"), _cell(value)
    yield "calibration error", f"{metrics['calibration']['ece']:.4f}"
    yield "dice, 80% kept", f"{metrics['risk_coverage']['kept_dice']:.4f}"
    bounds = metrics.get("bounds", {"classes": {}})  # files of earlier versions have none
    here = " (calibrated on these)" if bounds.get("same_pictures") else ""
    for one, found in bounds["classes"].items():
        whose = f", {escape(one)}" if len(bounds["classes"]) > 1 else ""
        for name, label in (("area", "area interval holds"), ("dice_low", "lowest dice holds")):
            if name in found:
                yield f"{label}{whose}{here}", _share(found[name], "coverage")
    if "share" in metrics.get("unlikeness", {}):
        yield f"unlike images{here}", _share(metrics["unlikeness"], "share")


def _share(found: dict[str, float], name: str) -> str:
    return rf"{found[name]:.4f} \[{found['low']:.4f}, {found['high']:.4f}]"


def samples_in_words(metrics: dict[str, Any]) -> str:
    """The samples of an image, from what `metrics.json` holds: "8 samples", of two checkpoints "2 x 8 samples"."""
    fused = metrics.get("checkpoints", 1)  # earlier files do not say it
    return (f"{fused} x " if fused > 1 else "") + quantity(metrics["samples"], "sample")


def _empty(metrics: dict[str, Any]) -> str:
    """A line on true masks that are empty, by the first column of the table; "" where none is."""
    found = metrics["protocols"][metrics.get("protocol", "mean")]
    empty, both = found.get("empty_truths", 0), found.get("both_empty", 0)
    if not empty:
        return ""
    whose = " of an image and a class" if found.get("classes") else ""
    return (
        f"\n{quantity(empty, f'true mask{whose} is', f'true masks{whose} are')} empty: {both} predicted empty, Dice 1; "
        f"{empty - both} not, Dice 0"
    )


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

"""The evaluation of a data set: every image sampled once, scored under every protocol, summed up and drawn."""

import functools
import itertools
import os
import statistics
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import ddim_jax
from ddim_jax.data import Example, Joined, Source, Subset, check_source, groups_of
from ddim_jax.data.facts import best_dice, is_lost, picture_digest, values_of
from ddim_jax.data.pixels import read_trained_on
from ddim_jax.evaluation.calibrating import Judgement, check_calibrate
from ddim_jax.evaluation.figures import FIGURES, draw_figures
from ddim_jax.evaluation.intervals import summarise_bounds, summarise_unlikeness
from ddim_jax.evaluation.scoring import ImageResult, score_image
from ddim_jax.evaluation.staging import check_targets, staged
from ddim_jax.evaluation.summary import rules, summarise
from ddim_jax.evaluation.tables import write_per_image
from ddim_jax.imageio.foregrounds import describe_foregrounds, noting
from ddim_jax.inference import Segmenter
from ddim_jax.inference.calibration import run_folder
from ddim_jax.inference.unlikeness import describe_picture
from ddim_jax.labels import Labels
from ddim_jax.preprocessing import resize_mask
from ddim_jax.runtime.atomic import check_place, write_json
from ddim_jax.runtime.errors import DataError, InputError
from ddim_jax.runtime.remote import local_path
from ddim_jax.sampling_options import SamplingOptions

RESOLUTIONS = ("model", "native")
NOT_TAKEN = ("protocol", "threshold")
"""Fields of `SamplingOptions` that an evaluation does not read: it scores every protocol at its own threshold."""
_OF_SOURCE = ("window", "invert")
"""Those that the data set was opened with: of a checkpoint by its name, `evaluate_checkpoint` takes them."""
_FOLDS = "the checkpoints are those of a cross-validation"
_KEPT_BYTES = 2**29  # of pictures, which are read before any is sampled, and again for the figures
_FILES = ("per_image.csv", *(f"figures/{figure}.png" for figure in FIGURES), "metrics.json")


def evaluate(
    segmenter: Segmenter | Sequence[Segmenter],
    source: Source | Sequence[Source],
    output_dir: str | os.PathLike,
    options: SamplingOptions | None = None,
    *,
    split: str,
    resolution: str | None = None,
    figures: bool = True,
    limit: int | None = None,
    calibrate: float | None = None,
    batch_size: int | None = None,
    progress: bool = False,
    **given: Any,
) -> dict[str, Any]:
    """Scores a checkpoint on a data set and writes the results.

    Every image is sampled once; all protocols (`ddim_jax.aggregation.PROTOCOLS`) are scored on the same samples. A pair
    that cannot be read ends the evaluation before anything is sampled, and nothing is written. Written into
    `output_dir`, replacing what an earlier evaluation left, all of it or nothing (`staged`):

    - `per_image.csv`: one row per image, every measure and pixel count of every protocol, and the measures of the
      samples against several annotators;
    - `metrics.json`: what is returned;
    - `figures/grid.png`, `worst.png`, `median.png`, `reverse_process.png` (pictures from the data set; the few images
      shown are sampled a second time, which gives the same samples), `scores.png` and `calibration.png` (numbers only);
      no reverse process for a network that works in one pass.
    - with `calibrate` alone: `calibration.json` in the checkpoint's run; of a file of packed weights instead its copy
      with the new calibration, `calibrated.safetensors`, which is not written over.

    Where the run has a calibration of these weights and options, both tables say how many of the pictures its bounds
    hold for, and how many are flagged as unlike the pictures of the calibration.

    Args:
      segmenter: the checkpoint. Several are those of a cross-validation: each scores a source of its own, all numbers
        are over the pictures of all of them, and no calibration and no figures are made.
      source: a data set as `ddim_jax.load_dataset` gives it, one for each of several checkpoints; each pair is read
        once where the data set takes up to 512 MB of memory, and otherwise twice.
      output_dir: made where it does not exist.
      options: of sampling and fusing; None for the checkpoint's own options.
      split: the name of the split, for the result files.
      resolution: "model": the truth is resized (nearest) to the working size; "native": the probability is resized
        (bilinear) to the picture's own size. With `size` "native" or "tiles" the two are one, and nothing is resized.
        None for "native".
      figures: draw them or not.
      limit: at most that many images, spread evenly over the data set; None for all.
      calibrate: the share of pictures, above 0 and below 1, that the bounds of areas and of Dice are made for, from
        these pictures on; they must not be those of the training. None to use the calibration that there is.
      batch_size: pictures to one program, as for `Segmenter.segment`.
      progress: show a progress bar or not.
      **given: fields of `SamplingOptions` that replace those of `options`, but for protocol and threshold: every
        protocol is scored, at its own threshold.

    Returns:
      What `metrics.json` holds: the options, the note of the data set ("" if it has none), the numbers of
      `ddim_jax.evaluation.summary.summarise`, the time per image and the rules in words.

    Raises:
      DataError: the data set is empty, or pairs cannot be read; all of them are collected, up to ten are named.
      CheckpointError: the network gives values that are not finite.
      InputError: an argument is out of range, `output_dir` cannot be made or written to, or the pictures are too few to
        calibrate on.
      TypeError: there is no option of that name, or it is one that an evaluation does not read.
    """
    output_dir = local_path(output_dir, "output_dir")
    unread = [name for name in (*NOT_TAKEN, *_OF_SOURCE) if given.get(name) is not None]
    if unread:
        raise TypeError(
            f"unexpected option {unread[0]!r}: every protocol is scored, at its own threshold, on pictures read as the "
            "source was opened"
        )
    members = list(segmenter) if isinstance(segmenter, Sequence) else [segmenter]
    if isinstance(segmenter, Sequence):
        segmenter, source, figures = members[0], Joined(source), False
    options = segmenter.options(options, **given)
    resolution = "native" if resolution is None else resolution
    _check_range(options, resolution, limit)
    chosen = choose_images(len(source), limit)
    groups = groups_of(Subset(source, chosen))
    if calibrate is not None:
        check_calibrate(segmenter, calibrate, resolution, groups, split, output_dir)
    check_place(output_dir)  # not only when everything was sampled
    check_targets(output_dir, _FILES)
    if not chosen:
        raise DataError(f"the split {split!r} of {source.name} holds no image; there is nothing to evaluate")
    batch_size = segmenter.batch_size(options, batch_size, len(chosen))
    subset = Subset(source, chosen)
    if subset.note:
        logging.warning("%s: %s", source.name, subset.note)
    if len(members) > 1:
        judgement = Judgement(why_not_calibrated=_FOLDS, why_not_judged=_FOLDS)
    else:
        judgement = Judgement.kept(segmenter, options) if calibrate is None else Judgement()
    score = functools.partial(
        score_image,
        ensemble=options.ensemble,
        labels=segmenter.labels,
        coverage=calibrate or judgement.coverage,
        doubt_temperature=judgement.doubt_temperature,
    )
    with _progress_bar(progress) as bar:
        resized_to = segmenter.image_size if options.size == "model" else None
        trained_on = frozenset() if len(members) > 1 or split == "train" else _trained_on(segmenter)
        look, fitting, known = _read_all(subset, bar, segmenter.labels, resized_to, trained_on)
        if known:
            told = f"{len(known)} of {len(subset)} pictures were trained on, such as {known[0]}"
            if calibrate is not None:
                raise InputError(f"calibrate: {told}; of those the network is too sure. Leave them out")
            logging.warning("%s: %s: the scores are too good", source.name, told)
        results, seconds = [], []
        for number, member in enumerate(members):
            rows = [row for row, one in enumerate(chosen) if len(members) == 1 or source.part[one] == number]
            scored, took = _score_all(member, look, rows, options, resolution, score, batch_size, bar)
            results, seconds = results + scored, seconds + took
        results = [result._replace(group=group) for result, group in zip(results, groups, strict=True)]
        if calibrate is not None:
            judgement = Judgement.fitted(results, subset, split, calibrate, segmenter.labels)
        metrics = {
            "dataset": source.name,
            "place": getattr(source, "place", None),
            "split": split,
            "note": subset.note,
            "images": len(subset),
            "groups": len(set(groups)),
            "images_in_split": len(source),
            "trained_on": len(known) if trained_on else None,
            **_about(members, options, batch_size, resolution),
            "working_size": fitting,
            **summarise(results, options.ensemble, segmenter.labels),
            "bounds": summarise_bounds(
                results, judgement.calibration, judgement.why_not_calibrated, subset, segmenter.labels
            ),
            "unlikeness": summarise_unlikeness(results, judgement.reference, judgement.why_not_judged),
            "seconds_per_image": _times(seconds, _together(options, batch_size)),
            "rules": rules(options.ensemble),
        }
        cut_short = None
        with staged(output_dir, _FILES) as stage:
            write_per_image(
                stage / "per_image.csv", results, judgement.calibration, segmenter.labels, judgement.reference
            )
            write_json(stage / "metrics.json", metrics)
            try:
                if figures:
                    draw_figures(segmenter, look, options, results, stage / "figures", metrics, bar)
            except BaseException as error:  # the numbers took far longer, and stay
                cut_short = error
        if calibrate is not None:
            logging.info("calibrated: %s", judgement.save(segmenter, options, output_dir))
        if cut_short is not None:
            raise cut_short
    return metrics


def _check_range(options: SamplingOptions, resolution: str, limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; expected 1 or more")
    if resolution not in RESOLUTIONS:
        raise InputError(f"resolution is {resolution!r}; expected one of {', '.join(RESOLUTIONS)}")
    if options.size != "model" and resolution != "native":
        raise InputError(f"resolution is 'model' and size {options.size!r}, at which there is native alone")


def _about(members: Sequence[Segmenter], options: SamplingOptions, batch_size: int, resolution: str) -> dict[str, Any]:
    """The part of `metrics.json` about the checkpoint, or those of the folds, and how it was sampled."""
    # RUN/checkpoints/STEP or the file of packed weights, wherever it lies
    segmenter, paths = members[0], [Path(path) for member in members for path in member.checkpoints]
    places = ("/".join(place.parts[-1 if place.suffix else -3 :]) for place in paths)
    return {
        "checkpoint": (", " if len(members) > 1 else " + ").join(places),
        "folds": len(members) if len(members) > 1 else 0,
        "step": segmenter.step,
        **{name: value for name, value in options.as_dict().items() if name != "threshold"},
        "batch_size": batch_size,
        "network_evaluations_per_image": segmenter.evaluations(options),
        "image_size": segmenter.image_size,
        "resolution": resolution,
        "package": "ddim_jax",
        "package_version": ddim_jax.__version__,
        "classes": list(segmenter.labels.class_names),
    }


def _times(seconds: Sequence[float], first: int) -> dict[str, Any]:
    """The part of `metrics.json` about the seconds of each image; those of the `first` batch hold its compilation."""
    rest = seconds[first:]
    return {
        "device": jax.devices()[0].device_kind,
        "first_with_compilation": sum(seconds[:first]),
        "mean_of_the_rest": statistics.fmean(rest) if rest else None,
        "median_of_the_rest": statistics.median(rest) if rest else None,
    }


def _trained_on(segmenter: Segmenter) -> frozenset[str]:
    """The digests of the pictures that the checkpoints were trained on; none of packed weights, which have no run."""
    return frozenset().union(*(read_trained_on(run_folder(path)) for path in segmenter.checkpoints))


def _read_all(
    source: Source, bar: Progress, labels: Labels, resized_to: int | None = None, trained_on: Collection[str] = ()
) -> tuple[Callable[[int], Example], dict[str, Any] | None, list[str]]:
    """Reads every pair before anything is sampled, and keeps the first in `_KEPT_BYTES`.

    Returns what gives a pair, and what of the masks is left at the size that pictures are resized to, if they are:
    {"masks": those with foreground, "lost": those that lose a class, "best_dice"}. Then the names of the pictures whose
    digests are in `trained_on`.

    Where some files do not say the size of a pixel, no pair has it: a mean of millimetres is over all or none.

    Raises:
      DataError: pairs cannot be read, of which up to ten are named, or a mask is ignored everywhere; or
        masks that are read by level have several values for their foreground.
    """
    kept: dict[int, Example] = {}
    free, foregrounds, unknown, lost, best, known = _KEPT_BYTES, [], 0, [], [], []
    for row in bar.track(range(len(source)), description="reading"):
        try:
            with noting(foregrounds):
                example = source[row]
        except DataError:
            check_source(source)  # names all that cannot be read
            raise
        if not labels.valid(example.mask).any():
            raise DataError(f"{example.id}: its mask is ignored everywhere (data.ignore), so there is nothing to score")
        unknown += example.pixel_mm is None
        if trained_on and picture_digest(example.image).hexdigest() in trained_on:
            known.append(example.id)
        if resized_to is not None and values_of(example.mask, labels):
            lost.append(max(example.mask.shape) > resized_to and is_lost(example.mask, resized_to, labels))
            best.append(best_dice(example.mask, resized_to, labels))
        free -= example.nbytes
        if free >= 0:
            kept[row] = example
    if several := describe_foregrounds(foregrounds):
        raise DataError(f"{source.name}: {several}")
    if 0 < unknown < len(source):
        logging.warning(f"{unknown} of {len(source)} files do not say the size of a pixel: no distance is told in mm")

    def look(row: int) -> Example:
        example = kept[row] if row in kept else source[row]
        return example._replace(pixel_mm=None) if unknown else example

    left = {"masks": len(lost), "lost": sum(lost), "best_dice": statistics.fmean(best)} if lost else None
    return look, left, known


def _score_all(
    segmenter: Segmenter,
    look: Callable[[int], Example],
    rows: Sequence[int],
    options: SamplingOptions,
    resolution: str,
    score: Callable[..., ImageResult],
    batch_size: int,
    bar: Progress,
) -> tuple[list[ImageResult], list[float]]:
    """The numbers of the images of those rows, and the seconds the sampling of each took, of a batch its share."""
    results, seconds = [], []
    following = iter(bar.track(rows, description="sampling"))
    together = _together(options, batch_size)
    while examples := [look(row) for row in itertools.islice(following, together)]:
        start = time.perf_counter()
        samples = list(segmenter.sample_each([example.image for example in examples], options, batch_size))
        seconds += [(time.perf_counter() - start) / len(examples)] * len(examples)
        for example, estimates in zip(examples, samples, strict=True):
            truth, annotators, pixel_mm = example.mask, example.annotators, example.pixel_mm
            if resolution == "model":
                shape, pixel_mm = estimates.shape[1:3], None
                truth = resize_mask(truth, shape)
                annotators = None if annotators is None else np.stack([resize_mask(mask, shape) for mask in annotators])
            scored = score(example.id, estimates, truth, annotators=annotators, pixel_mm=pixel_mm)
            results.append(scored._replace(descriptor=describe_picture(example.image)))
    return results, seconds


def _together(options: SamplingOptions, batch_size: int) -> int:
    """The pictures that are sampled at once; one at size "tiles", of whose tiles a batch is made."""
    return 1 if options.size == "tiles" else batch_size


def choose_images(count: int, limit: int | None) -> list[int]:
    """Indices of the images to evaluate: all `count`, or `limit` of them spread evenly from the first to the last."""
    if limit is None or limit >= count:
        return list(range(count))
    return [int(index) for index in np.linspace(0, count - 1, limit).round()]


def _progress_bar(show: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), disable=not show
    )

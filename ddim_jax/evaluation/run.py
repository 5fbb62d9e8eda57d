"""The evaluation of a data set: every image sampled once, scored under every protocol, summed up and drawn."""

import contextlib
import itertools
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ddim_jax.data import Example, Source
from ddim_jax.data.facts import image_digest
from ddim_jax.data.pixels import read_trained_on
from ddim_jax.evaluation.calibrating import Judgement
from ddim_jax.evaluation.figures import draw_figures
from ddim_jax.evaluation.plan import FILES, EvaluationPlan, planned
from ddim_jax.evaluation.reading import Pictures, read_all
from ddim_jax.evaluation.record import metrics_of, replaced_in_words
from ddim_jax.evaluation.scoring import ImageResult, Scoring, score_image
from ddim_jax.evaluation.tables import write_per_image
from ddim_jax.evaluation.targets import LOCK, NEW, read_evaluation
from ddim_jax.evaluation.volumes import score_volumes, write_per_volume
from ddim_jax.imageio.label_maps import TO_SAY, UnnamedValuesError
from ddim_jax.inference import Segmenter
from ddim_jax.inference.calibration import run_folder
from ddim_jax.inference.unlikeness import describe_image
from ddim_jax.preprocessing import resize_mask
from ddim_jax.runtime.atomic import write_json
from ddim_jax.runtime.errors import ConfigError, DataError, InputError
from ddim_jax.runtime.locks import locked
from ddim_jax.sampling_options import SamplingOptions

_FOLDS = "the checkpoints are those of a cross-validation"


def evaluate(
    segmenter: Segmenter | Sequence[Segmenter],
    source: Source | Sequence[Source],
    output_dir: str | os.PathLike,
    options: SamplingOptions | None = None,
    *,
    progress: bool = False,
    **given: Any,
) -> dict[str, Any]:
    """Scores a checkpoint on a data set and writes the results.

    Every image is sampled once; all protocols (`ddim_jax.aggregation.PROTOCOLS`) are scored on the same samples. A pair
    that cannot be read ends the evaluation before anything is sampled, and nothing is written. Written into
    `output_dir`, in the place of what an earlier evaluation left, in this order:

    - `per_image.csv`: one row per image, every measure and pixel count of every protocol, and the measures of the
      samples against several annotators;
    - `per_volume.csv`: where images are slices of volumes, one row per volume (`score_volumes`);
    - `metrics.json`: what is returned; without it the tables are of an evaluation that was stopped;
    - with `calibrate` alone: `calibration.json` in the checkpoint's run; of a file of packed weights instead its copy
      with the new calibration, `calibrated.safetensors`, which is not written over.
    - `figures/grid.png`, `worst.png`, `median.png`, `reverse_process.png` (images from the data set; the few images
      shown are sampled a second time, which gives the same samples), `scores.png` and `calibration.png` (numbers only);
      no reverse process for a network that works in one pass.

    Where the run has a calibration of these weights and options, both tables say how many of the images its bounds
    hold for, and how many are flagged as unlike the images of the calibration.

    Args:
      segmenter: the checkpoint. Several are those of a cross-validation: each scores a source of its own, all numbers
        are over the images of all of them, and no calibration and no figures are made.
      source: a data set as `ddim_jax.load_dataset` gives it, one for each of several checkpoints; each pair is read
        once where the data set takes up to 512 MB of memory, and otherwise twice.
      output_dir: made where it does not exist.
      options: of sampling and fusing; None for the checkpoint's own options.
      progress: show a progress bar or not.
      **given: fields of `EvaluationOptions`, of which `split` is needed, and fields of `SamplingOptions` that replace
        those of `options`, but for protocol and threshold: every protocol is scored, at its own threshold.

    Returns:
      What `metrics.json` holds: the options, the note of the data set ("" if it has none), the numbers of
      `ddim_jax.evaluation.summary.summarise`, the time per image and the rules in words.

    Raises:
      DataError: the data set is empty, or pairs cannot be read; all of them are collected, up to ten are named.
      CheckpointError: the network gives values that are not finite.
      InputError: an argument is out of range, there are not as many data sets as checkpoints, `output_dir` cannot be
        made or written to, or the images are too few to calibrate on.
      ConfigError: a metric or an ensemble fails, or gives what it may not; the image is named.
      TypeError: there is no option of that name, or it is one that an evaluation does not read.
    """
    work = planned(segmenter, source, output_dir, options, **given)
    judgement = _judgement(work)
    with _progress_bar(progress) as bar:
        pictures = _read(work, bar)
        results, seconds = _scored(work, pictures, judgement, bar)
        if work.evaluation.calibrate is not None:
            judgement = Judgement.fitted(results, work.subset, work.evaluation, work.first.labels)
        metrics = metrics_of(work, pictures, results, seconds, judgement)
        _written(work, pictures, results, metrics, judgement, bar)
    return metrics


def _judgement(work: EvaluationPlan) -> Judgement:
    """The calibration that there is; of folds, and where one is about to be made, none."""
    if work.of_folds:
        return Judgement(why_not_calibrated=_FOLDS, why_not_judged=_FOLDS)
    return Judgement.kept(work.first, work.options) if work.evaluation.calibrate is None else Judgement()


def _read(work: EvaluationPlan, bar: Progress) -> Pictures:
    """Reads all images; those that were trained on are told of, and not calibrated on."""
    trained_on = None if work.of_folds or work.evaluation.split == "train" else _trained_on(work.first)
    resized_to = work.first.image_size if work.options.size == "model" else None
    scored_at = resized_to if work.evaluation.resolution == "model" else None
    try:
        pictures = read_all(work.subset, bar, work.first.labels, resized_to, scored_at, trained_on)
    except UnnamedValuesError as error:
        labels = work.first.labels
        classes = f"{', '.join(labels.class_names)} ({labels.as_config()['labels'] or 'one, by its level'})"
        values = "these values alone" if labels.by_value else "0 and one other value"
        raise DataError(
            *(str(line).partition(TO_SAY)[0] for line in error.args),
            f"An evaluation is of the checkpoint's classes, {classes}: give a copy of the folder with masks of "
            f"{values}",
        ) from error
    if known := pictures.trained_on:
        told = f"{len(known)} of {len(work.subset)} images were trained on, such as {known[0]}"
        if work.evaluation.calibrate is not None:
            raise InputError(f"calibrate: {told}; of those the network is too sure. Leave them out")
        logging.warning("%s: %s: the scores are too good", work.source.name, told)
    return pictures


def _scored(
    work: EvaluationPlan, pictures: Pictures, judgement: Judgement, bar: Progress
) -> tuple[list[ImageResult], list[list[float]]]:
    """The numbers of every image, of folds each by its own checkpoint; and for each the seconds that sampling took."""
    coverage = work.evaluation.calibrate or judgement.coverage
    scoring = Scoring(work.options.ensemble, work.first.labels, coverage, judgement.doubt)
    results, seconds = [], []
    for number, member in enumerate(work.members):
        rows = [row for row, one in enumerate(work.chosen) if not work.of_folds or work.source.part[one] == number]
        scored, took = _score_all(member, work, pictures, rows, scoring, bar)
        results += scored
        seconds.append(took)
    of_each = zip(results, work.groups, work.volumes, strict=True)
    return [one._replace(group=group, volume=volume) for one, group, volume in of_each], seconds


def _written(
    work: EvaluationPlan,
    pictures: Pictures,
    results: Sequence[ImageResult],
    metrics: dict[str, Any],
    judgement: Judgement,
    bar: Progress,
) -> None:
    """Writes the tables, `metrics.json`, which vouches for them, a calibration that was made, and the figures.

    A full disk costs no earlier evaluation, figures that fail cost no number. Evaluations that end at the same moment
    take turns.
    """
    folder = work.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK, required=False):
        replaced = replaced_in_words(read_evaluation(folder / "metrics.json"), metrics)
        with _made(folder / NEW) as new:
            known = judgement.calibration, work.first.labels, judgement.reference
            write_per_image(new / "per_image.csv", results, *known)
            if volumes := score_volumes(results):
                write_per_volume(new / "per_volume.csv", volumes)
            write_json(new / "metrics.json", metrics)
            for name in reversed(FILES):  # metrics.json goes first and comes last, wherever it is stopped
                (folder / name).unlink(missing_ok=True)
            for name in FILES:
                if (new / name).exists():
                    (new / name).replace(folder / name)
        if replaced:
            logging.warning("replaced an earlier evaluation (%s); next time --output DIR keeps both", replaced)
        if work.evaluation.calibrate is not None:
            logging.info("calibrated: %s", judgement.save(work.first, work.options, folder))
        if work.evaluation.figures:
            draw_figures(work.first, pictures.look, work.options, results, folder / "figures", metrics, bar)


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[Path]:
    """The folder, made anew, and removed with what is in it at the end."""
    shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _trained_on(segmenter: Segmenter) -> frozenset[str] | None:
    """The digests of the images that the checkpoints were trained on; None where no run knows them."""
    known = (read_trained_on(run_folder(path)).values() for path in segmenter.checkpoints)
    return frozenset().union(*known) or None


def _score_all(
    segmenter: Segmenter,
    work: EvaluationPlan,
    pictures: Pictures,
    rows: Sequence[int],
    scoring: Scoring,
    bar: Progress,
) -> tuple[list[ImageResult], list[float]]:
    """The numbers of the images of those rows, and the seconds the sampling of each took, of a batch its share."""
    results, seconds = [], []
    following = iter(bar.track(rows, description="sampling"))
    while examples := [pictures.look(row) for row in itertools.islice(following, work.together)]:
        start = time.perf_counter()
        images = [example.image for example in examples]
        samples = list(segmenter.sample_each(images, work.options, work.evaluation.batch_size))
        seconds += [(time.perf_counter() - start) / len(examples)] * len(examples)
        for example, estimates in zip(examples, samples, strict=True):
            try:
                resized = work.evaluation.resolution == "model"
                scored = score_image(_resized(example, estimates) if resized else example, estimates, scoring)
            except ConfigError as error:  # of a metric or an ensemble, which know no name of the image
                raise ConfigError(f"{example.id}: {error}") from error
            digest = image_digest(example.image).hexdigest()
            results.append(scored._replace(descriptor=describe_image(example.image), digest=digest))
    return results, seconds


def _resized(example: Example, samples: np.ndarray) -> Example:
    """The pair with its masks at the size of its samples [S, h, w], where a pixel has no size in mm."""
    shape, several = samples.shape[1:3], example.annotators
    annotators = None if several is None else np.stack([resize_mask(mask, shape) for mask in several])
    return example._replace(mask=resize_mask(example.mask, shape), annotators=annotators, pixel_mm=None)


def _progress_bar(show: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), disable=not show
    )

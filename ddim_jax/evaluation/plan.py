"""The plan of an evaluation: its arguments, checked before any work."""

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from ddim_jax.data import Joined, Source, Subset, Volume, groups_of, volumes_of
from ddim_jax.evaluation.calibrating import check_calibrate
from ddim_jax.evaluation.figures import FIGURES
from ddim_jax.evaluation.options import EvaluationOptions
from ddim_jax.evaluation.targets import check_targets
from ddim_jax.inference import Segmenter
from ddim_jax.runtime.atomic import check_place
from ddim_jax.runtime.errors import DataError, InputError
from ddim_jax.runtime.remote import local_path
from ddim_jax.runtime.values import quantity, taken
from ddim_jax.sampling_options import SamplingOptions

NOT_TAKEN = ("protocol", "threshold")
"""Fields of `SamplingOptions` that an evaluation does not read: it scores every protocol at its own threshold."""
_OF_SOURCE = ("window", "invert")
"""Fields that the data set was opened with: of a checkpoint by its name, `evaluate_checkpoint` takes them."""
FILES = ("per_image.csv", "per_volume.csv", *(f"figures/{figure}.png" for figure in FIGURES), "metrics.json")


class EvaluationPlan(NamedTuple):
    """The arguments of `evaluate`, checked and resolved.

    Attributes:
      members: the checkpoint, or those of the folds.
      source: the data set, of folds all of their images.
      output_dir: the folder of the results.
      options: of sampling and fusing.
      evaluation: the options of the evaluation, with the batch size that was chosen, and of folds without figures.
      chosen: the rows of the source that are scored, and `subset` these images.
      groups: of each of them.
      volumes: that each of them is a slice of.
    """

    members: Sequence[Segmenter]
    source: Source
    output_dir: Path
    options: SamplingOptions
    evaluation: EvaluationOptions
    chosen: Sequence[int]
    subset: Subset
    groups: Sequence[str]
    volumes: Sequence[Volume | None]

    @property
    def first(self) -> Segmenter:
        """The checkpoint, of folds that of the first."""
        return self.members[0]

    @property
    def of_folds(self) -> bool:
        """True of the checkpoints of a cross-validation."""
        return len(self.members) > 1

    @property
    def together(self) -> int:
        """The images that are sampled at once; one at size "tiles", of whose tiles a batch is made."""
        return 1 if self.options.size == "tiles" else self.evaluation.batch_size


def planned(
    segmenter: Segmenter | Sequence[Segmenter],
    source: Source | Sequence[Source],
    output_dir: str | os.PathLike,
    options: SamplingOptions | None,
    **given: Any,
) -> EvaluationPlan:
    """Checks the arguments of `evaluate`; errors as there."""
    output_dir = Path(local_path(output_dir, "output_dir"))
    evaluation = taken(EvaluationOptions, given, SamplingOptions)
    unread = [name for name in (*NOT_TAKEN, *_OF_SOURCE) if given.get(name) is not None]
    if unread:
        raise TypeError(
            f"unexpected option {unread[0]!r}: every protocol is scored, at its own threshold, on images read as the "
            "source was opened"
        )
    members = list(segmenter) if isinstance(segmenter, Sequence) else [segmenter]
    sources = list(source) if isinstance(source, list | tuple) else [source]
    if not members or len(members) != len(sources):
        raise InputError(
            f"{quantity(len(members), 'checkpoint')} and {quantity(len(sources), 'data set')}; expected one for each. "
            "Several that are fused on one data set are one ddim_jax.inference.Ensemble"
        )
    source = Joined(sources) if isinstance(segmenter, Sequence) else sources[0]
    first = members[0]
    options = first.options(options, **given)
    evaluation.check(options)
    chosen = choose_images(len(source), evaluation.limit)
    subset = Subset(source, chosen)
    volumes = volumes_of(subset)
    groups = _groups(subset, volumes)
    if evaluation.calibrate is not None:
        check_calibrate(first, evaluation, groups, output_dir)
    check_place(output_dir)  # not only when everything was sampled
    check_targets(output_dir, FILES)
    if not chosen:
        raise DataError(f"the split {evaluation.split!r} of {source.name} holds no image; there is nothing to evaluate")
    scored = Counter(volume for volume in volumes if volume is not None)
    if in_part := [volume.name for volume, slices in scored.items() if slices < volume.slices]:
        logging.warning(
            "%s: of %d of %d volumes, such as %s, not all slices are scored; scores of whole volumes leave them out",
            source.name,
            len(in_part),
            len(scored),
            in_part[0],
        )
    batch_size = first.batch_size(options, evaluation.batch_size, len(chosen))
    if subset.note:
        logging.warning("%s: %s", source.name, subset.note)
    figures = evaluation.figures and len(members) == 1
    evaluation = dataclasses.replace(evaluation, batch_size=batch_size, figures=figures)
    return EvaluationPlan(members, source, output_dir, options, evaluation, chosen, subset, groups, volumes)


def _groups(source: Source, volumes: Sequence[Volume | None]) -> list[str]:
    """The group of each image; of a slice that the source leaves by itself (data.groups=none) its volume.

    Slices of one volume are never independent, whatever folders and patients are.
    """
    return [
        volume.name if volume is not None and group == name else group
        for group, name, volume in zip(groups_of(source), source.ids, volumes, strict=True)
    ]


def choose_images(count: int, limit: int | None) -> list[int]:
    """Indices of the images to evaluate: all `count`, or `limit` of them spread evenly from the first to the last."""
    if limit is None or limit >= count:
        return list(range(count))
    return [int(index) for index in np.linspace(0, count - 1, limit).round()]

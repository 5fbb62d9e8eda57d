"""The calibration that an evaluation judges doubt with: the checkpoint's own, or a new one, made and kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from absl import logging

from ddim_jax.checkpoints.packed import check_output
from ddim_jax.data import Source
from ddim_jax.data.division import GROUPS
from ddim_jax.evaluation.intervals import COVERAGE
from ddim_jax.evaluation.intervals import calibrate as fit_calibration
from ddim_jax.evaluation.options import EvaluationOptions
from ddim_jax.evaluation.scoring import ImageResult, groups_of_results
from ddim_jax.inference import Segmenter
from ddim_jax.inference.calibration import (
    Calibrated,
    calibration_record,
    run_folder,
    save_calibration,
)
from ddim_jax.inference.calibration_advice import calibrated_options
from ddim_jax.inference.packing import pack
from ddim_jax.inference.unlikeness import IMAGES_NEEDED, Reference, fit_reference, too_few
from ddim_jax.labels import Labels
from ddim_jax.metrics import DoubtScale, images_needed
from ddim_jax.runtime.atomic import check_place
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.values import quantity
from ddim_jax.sampling_options import SamplingOptions

CALIBRATED = "calibrated.safetensors"


class Judgement(NamedTuple):
    """A calibration and the look of its images: of these bounds are made, and unlike images told.

    Attributes:
      calibration: None where there is none for these weights and options.
      why_not_calibrated: the reason in words; "" where none is known, or none needed.
      reference: the look of the images of the calibration; None where there is none.
      why_not_judged: the reason in words, likewise.
    """

    calibration: Calibrated | None = None
    why_not_calibrated: str = ""
    reference: Reference | None = None
    why_not_judged: str = ""

    @classmethod
    def kept(cls, segmenter: Segmenter, options: SamplingOptions) -> "Judgement":
        """Calibration and reference that the checkpoint has for these options."""
        calibration, why_not_calibrated = segmenter.calibration(calibrated_options(options, segmenter.labels))
        return cls(calibration, why_not_calibrated, *segmenter.reference())

    @classmethod
    def fitted(
        cls, results: Sequence[ImageResult], source: Source, evaluation: EvaluationOptions, labels: Labels
    ) -> "Judgement":
        """A new one, of the scored images of a split."""
        calibration = fit_calibration(results, source, evaluation.split, evaluation.calibrate, labels)
        groups = groups_of_results(results)
        if len(set(groups)) >= IMAGES_NEEDED:
            return cls(calibration, reference=fit_reference([result.descriptor for result in results], groups))
        why_not = too_few(len(results), len(set(groups)))
        logging.warning("calibrated on %s", why_not)
        return cls(calibration, why_not_judged=why_not)

    @property
    def coverage(self) -> float:
        """The share of images that the bounds are made for, or would be."""
        return COVERAGE if self.calibration is None else self.calibration.coverage

    @property
    def doubt(self) -> DoubtScale | None:
        """The scale of doubts of the calibration; None for doubts as the network has them."""
        return None if self.calibration is None else self.calibration.doubt

    def save(self, segmenter: Segmenter, options: SamplingOptions, output_dir: Path) -> Path:
        """Keeps a new one: in the run of the checkpoint, or in a copy of the packed weights; returns the file."""
        found = segmenter, calibrated_options(options, segmenter.labels), self.calibration, self.reference
        if not segmenter.is_packed:
            return save_calibration(*found)
        pack(segmenter.checkpoint, output_dir / CALIBRATED, calibration=calibration_record(*found))
        return output_dir / CALIBRATED


def check_calibrate(
    segmenter: Segmenter, evaluation: EvaluationOptions, groups: Sequence[str], output_dir: Path
) -> None:
    """Refuses a calibration that could not be made, used or kept, before any work.

    Raises:
      InputError: as `ddim_jax.evaluation.evaluate`.
    """
    refuse_several(segmenter)
    try:
        needed = images_needed(evaluation.calibrate)
    except ValueError as error:
        raise InputError(f"calibrate: {error}") from error
    if evaluation.resolution != "native":
        raise InputError("calibrate with the resolution 'model'; expected native: new images are told of at their size")
    if evaluation.split == "train":
        raise InputError(
            "calibrate on the split train; expected val: of what it was trained on the network is too sure"
        )
    if (count := len(set(groups))) < needed:
        one, several = ("image", None) if count == len(groups) else (GROUPS.replace("groups", "group", 1), GROUPS)
        raise InputError(
            f"calibrate on {quantity(count, one, several)}; bounds that hold for {evaluation.calibrate} of images need "
            f"{needed} or more. Take more, new ones with a mask (--data-root DIR --split all), or a lower share"
        )
    if segmenter.is_packed:
        check_output(output_dir / CALIBRATED)
    else:
        check_place(run_folder(segmenter.checkpoint))


def refuse_several(segmenter: Segmenter) -> None:
    """Refuses to calibrate checkpoints that are fused.

    Raises:
      InputError: they are more than one.
    """
    if segmenter.others:
        count = 1 + len(segmenter.others)
        raise InputError(
            f"calibrate {count} checkpoints together; expected one, with which its calibration is kept: of a fold with "
            "--split val, or on images that it was not trained on, with --data-root DIR --split all"
        )

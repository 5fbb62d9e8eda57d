"""`calibration.json` of a run: what `evaluate --calibrate` found on images that were not trained on.

It holds for the weights, the size of the training and the sampling options that it was made with, and is not used with
any others. The seed may be another: the noise of an image is drawn alike under every seed. The reference that other
images are compared with (`ddim_jax.inference.unlikeness`) holds for any options.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

import ddim_jax
from ddim_jax.checkpoints.weights import Found
from ddim_jax.config import saved_config
from ddim_jax.inference.calibration_advice import HOW_TO, conditions, differences
from ddim_jax.inference.loading import fingerprint
from ddim_jax.inference.unlikeness import IMAGES_NEEDED, Reference, too_few
from ddim_jax.labels import Labels
from ddim_jax.metrics import Bounds, DoubtScale, Quantiles, calibrated_bounds, check_coverage, class_statements
from ddim_jax.runtime.atomic import write_json
from ddim_jax.runtime.json_text import parse_json
from ddim_jax.runtime.values import is_number
from ddim_jax.sampling_options import SamplingOptions

CALIBRATION = "calibration.json"
NOT_CALIBRATED = "not calibrated"
_LARGEST = 2**20  # bytes


class Calibrated(NamedTuple):
    """The calibration of a checkpoint with some sampling options.

    Attributes:
      coverage: the share of images that each bound is made for, in (0, 1).
      quantiles: for each class, in their order.
      temperature: fitted to the same images (`ddim_jax.metrics.scale_probability`); the bounds do not use it.
      about: where it comes from: "dataset", "split", "images" and "ids_sha256" of the images, "pixels_sha256" of their
        pixels (not in those of an earlier version), and "groups", the number of their groups, where there are fewer.
      doubt: the scale at which the doubt of the same images' masks is what they miss of Dice, on average
        (`ddim_jax.metrics.fit_doubt`).
    """

    coverage: float
    quantiles: tuple[Quantiles, ...]
    temperature: float
    about: Mapping[str, Any]
    doubt: DoubtScale

    def digest(self) -> str:
        """SHA-256 of all that bounds and doubt depend on."""
        # Factors of 1 change nothing, and packaged weights have no others.
        doubt = self.doubt if any(factor != 1 for factor in self.doubt.odds_of_empty) else self.doubt[:2]
        return hashlib.sha256(json.dumps([self.coverage, self.quantiles, doubt]).encode()).hexdigest()

    def in_words(self) -> str:
        """One line for people."""
        about, groups = self.about, ""
        if "groups" in about:
            groups = f", one drawn from each new group (patient, folder, volume) like the {about['groups']} there"
        return (
            f"each interval of an area and each lower bound of a Dice made to hold for {self.coverage:.4g} of images "
            f"like the {about['images']} of {about['dataset']} {about['split']}{groups}"
        )

    def bounds(
        self, probability: np.ndarray, mask: np.ndarray, doubts: list[float], labels: Labels
    ) -> dict[str, Bounds]:
        """The bounds of each class by its name; arguments as `ddim_jax.metrics.class_statements`."""
        said = class_statements(probability, mask, doubts, self.coverage, labels)
        return {
            name: calibrated_bounds(*pair) for name, *pair in zip(labels.class_names, said, self.quantiles, strict=True)
        }


def run_folder(checkpoint: str | os.PathLike) -> Path:
    """The run of a step folder, which lies in RUN/checkpoints; a folder of steps under another name is itself a run."""
    steps = Path(checkpoint).parent
    return steps.parent if steps.name == "checkpoints" else steps


def calibration_record(
    segmenter: Any, options: SamplingOptions, found: Calibrated, reference: Reference | None = None
) -> dict[str, Any]:
    """The content of `calibration.json`.

    Args:
      segmenter: the checkpoint that was calibrated.
      options: the sampling options that it was calibrated with.
      found: the calibration.
      reference: the look of the images that it was made of; None if they were too few.
    """
    quantiles = (one._asdict() for one in found.quantiles)
    return conditions(segmenter, options) | {
        "step": segmenter.step,
        **found._asdict(),
        "quantiles": dict(zip(segmenter.labels.class_names, quantiles, strict=True)),
        "about": dict(found.about),
        "doubt": found.doubt.as_record(segmenter.labels),
        "unlikeness": None if reference is None else reference.as_record(),
        "package_version": ddim_jax.__version__,
    }


def save_calibration(
    segmenter: Any, options: SamplingOptions, found: Calibrated, reference: Reference | None = None
) -> Path:
    """Writes `calibration.json` into the run of the segmenter's checkpoint, whole or not at all; returns its path.

    The segmenter uses it from then on. Arguments as for `calibration_record`.
    """
    path = run_folder(segmenter.checkpoint) / CALIBRATION
    before = _read(path)[0] if os.path.lexists(path) else None
    write_json(path, calibration_record(segmenter, options, found, reference))
    segmenter.drop_calibration()
    if before is not None:
        old = before.get("about") or {}
        logging.warning(
            "%s: replaces that of %s images of %s %s, with which results were made before",
            path,
            old.get("images"),
            old.get("dataset"),
            old.get("split"),
        )
    return path


def packable_calibration(found: Found, dtype: str) -> dict[str, Any] | None:
    """The record to pack with these weights; None if there is none or, with a warning, if it holds for others."""
    record, told = found.metadata.get("calibration"), str(found.place)
    if found.place.is_dir():
        path = run_folder(found.place) / CALIBRATION
        told = str(path)
        record, why_not = _read(path) if os.path.lexists(path) else (None, "")
        weights = fingerprint(saved_config(found.about, found.metadata), found.digest)
        if record is not None and record.pop("weights", None) != weights:
            record, why_not = None, f"{path} is left out: it was made with other weights (step {record.get('step')})"
        if why_not:
            logging.warning("%s", why_not)
    if record is not None and dtype != "float32":
        logging.warning(
            "the calibration of %s is left out: it holds for weights not rounded to %s; calibrate the file on "
            "images that were not trained on: ddim-jax evaluate --ckpt FILE --data-root DIR --split all --calibrate "
            "--output OUT",
            told,
            dtype,
        )
        record = None
    return record


def load_calibration(segmenter: Any, options: SamplingOptions, *, warn: bool = True) -> tuple[Calibrated | None, str]:
    """The calibration of the segmenter's run or file, if it holds for these weights and options.

    With `warn`, a file that is there and not used is told of with a warning.

    Returns:
      (calibration, ""); or (None, one line that says why there is none).
    """
    record, told, why_not = _find(segmenter)
    found = None
    if record is not None:
        holds_for = conditions(segmenter, options)
        if segmenter.is_packed:
            # What holds for other weights is not packed, and the SHA-256 of the file binds them together.
            del holds_for["weights"]
        found, why_not = _fitting(record, holds_for, segmenter.labels)
        why_not = f"{told} is not used: {why_not}" if why_not else ""
    if why_not and told:
        why_not += f". {HOW_TO}"
    if why_not and told and warn:
        logging.warning("%s", why_not)
    return found, why_not


def without_place(why_not: str) -> str:
    """The reason in a line of `load_calibration`, without the path; "" for ""."""
    if not why_not:
        return ""
    return why_not.partition(" is not used: ")[2].partition(". ")[0] or NOT_CALIBRATED


def load_reference(segmenter: Any) -> tuple[Reference | None, str]:
    """The reference of the calibration's images, of the segmenter's run or file, if it was made with these weights.

    Returns:
      (reference, ""); or (None, one line that says why there is none, without a path).
    """
    record, told, _ = _find(segmenter)
    if record is None:
        return None, f"{CALIBRATION} cannot be read" if told else NOT_CALIBRATED
    if record.get("weights", segmenter.fingerprint()) != segmenter.fingerprint():
        return None, f"the calibration was made with other weights (step {record.get('step')})"
    try:
        if record.get("unlikeness") is not None:
            return Reference.from_record(record["unlikeness"]), ""
        images = int(_number(record["about"]["images"]))
        groups = int(_number(record["about"].get("groups", images)))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None, "the calibration is damaged"
    if groups < IMAGES_NEEDED:
        return None, f"the calibration was made of {too_few(images, groups)}"
    return None, "the calibration was made by an earlier version"


def _find(segmenter: Any) -> tuple[dict[str, Any] | None, str, str]:
    """The record, a name for it ("" if none is there), and why there is none that can be read."""
    place = Path(segmenter.checkpoint)
    if segmenter.is_packed:
        record = segmenter.packed_calibration
        if record is None:
            return None, "", f"not calibrated: {place} was packed without a calibration"
        return record, f"the calibration in {place}", ""
    path = run_folder(place) / CALIBRATION
    if not os.path.lexists(path):
        return None, "", f"not calibrated: {path.parent} has no {CALIBRATION}"
    record, why_not = _read(path)
    return record, str(path), why_not


def _read(path: Path) -> tuple[dict[str, Any] | None, str]:
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("too large")
        record = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is damaged"
        return None, f"{path} is not used: it cannot be read ({why})"
    if not isinstance(record, dict):
        return None, f"{path} is not used: it holds no calibration"
    return record, ""


def _fitting(record: Mapping[str, Any], holds_for: Mapping[str, Any], labels: Labels) -> tuple[Calibrated | None, str]:
    if found := differences(record, holds_for):
        return None, "; ".join(found)
    try:
        return _parsed(record, labels), ""
    except (KeyError, TypeError, ValueError, AttributeError):
        return None, "it is damaged"


def _parsed(record: Mapping[str, Any], labels: Labels) -> Calibrated:
    """Raises KeyError, TypeError, ValueError or AttributeError for what is no calibration."""
    quantiles = tuple(
        Quantiles(_number(record["quantiles"][name]["area"]), _number(record["quantiles"][name]["dice"]))
        for name in labels.class_names
    )
    check_coverage(record["coverage"])
    about = {name: record["about"][name] for name in ("dataset", "split", "images", "ids_sha256")}
    if "pixels_sha256" in record["about"]:
        about["pixels_sha256"] = str(record["about"]["pixels_sha256"])
    if "groups" in record["about"]:
        about["groups"] = int(_number(record["about"]["groups"]))
    doubt = DoubtScale.from_record(record["doubt"], labels)
    temperature = _number(record["temperature"])
    if temperature <= 0:
        raise ValueError("no temperature")
    return Calibrated(record["coverage"], quantiles, temperature, about, doubt)


def _number(value: Any) -> float:
    if not is_number(value) or not math.isfinite(value):
        raise ValueError("no number")
    return float(value)

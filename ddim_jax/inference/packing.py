"""From a run to one file of packed weights, with its calibration."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ddim_jax.checkpoints.packed import Packed, check_output, write_packed
from ddim_jax.checkpoints.weights import TRAINED_IN, open_weights
from ddim_jax.config import saved_config, without_paths
from ddim_jax.imageio.coded import coded, parse_segments
from ddim_jax.inference.calibration import packable_calibration
from ddim_jax.inference.loading import fingerprint
from ddim_jax.labels import Labels
from ddim_jax.runtime.errors import CheckpointError
from ddim_jax.runtime.remote import local_path


def pack(
    path: str | os.PathLike,
    output: str | os.PathLike,
    *,
    step: Literal["best", "latest"] | int = "best",
    dtype: Literal["float32", "float16"] = "float32",
    note: str = "",
    terms: str = "",
    segments: Sequence[str] = (),
    calibration: Mapping[str, Any] | None = None,
) -> Packed:
    """Writes the weights that a user points at into one file of packed weights, and returns what is in it.

    The calibration of a run (`evaluate --calibrate`), or of a file packed before, goes with its weights as float32; of
    rounded or other weights it would not hold: it is left out, with a warning.

    The paths of the config (`data.root`, `data.cache_dir`, `data.unlabelled`, `train.init_from`) stay out: they say
    where things lay on the machine of the training.

    Args:
      path, step: as for `open_weights`.
      output: ends in .safetensors; nothing is written over.
      dtype: float32 keeps every bit; float16 halves the file.
      note: on what the weights were trained; "" keeps the note of weights that were packed before.
      terms: under which they may be used; "" keeps those of weights that were packed before.
      segments: what the classes are, for DICOM-SEG, in the place of `data.segments` of the config
        (`ddim_jax.imageio.coded.parse_segments`); none keeps those.
      calibration: of these weights as they are stored (`calibration_record`), in the place of theirs; their dtype then
        stays what it is.

    Raises:
      InputError: a concept of `segments` is not known, or pydicom, which knows them, is not installed.
      InputError, CheckpointError, OSError: as `open_weights` and `ddim_jax.checkpoints.packed.write_packed`.
    """
    output = local_path(output, "output")
    check_output(output)
    found = open_weights(path, step)
    data = dict(found.metadata.get("data") or {})
    data.pop(TRAINED_IN, None)
    before = {name: data.pop(name, "") for name in ("note", "terms")}
    config = found.metadata.get("config")
    if not isinstance(config, dict) or not all(isinstance(config.get(part), dict) for part in ("data", "train")):
        raise CheckpointError(
            f"{found.about}: config is {config!r}; expected sections. Was it made by `ddim-jax train`?"
        )
    config = without_paths(config)
    if segments:
        classes = Labels.from_config(config["data"]).class_names
        concepts = parse_segments(segments, classes)
        coded(concepts, classes)
        config["data"] = config["data"] | {"segments": [f"{name}={concept}" for name, concept in concepts.items()]}
    if calibration is None:
        calibration = packable_calibration(found, dtype)
    else:
        dtype, calibration = found.dtype, dict(calibration)
        if calibration.pop("weights") != fingerprint(saved_config(found.about, found.metadata), found.digest):
            raise CheckpointError(f"{found.place}: changed since it was calibrated; calibrate it again")
    return write_packed(
        output,
        found.params,
        step=found.step,
        metadata=found.metadata | {"config": config, "data": data, "calibration": calibration},
        dtype=dtype,
        note=note or before["note"],
        terms=terms or before["terms"],
    )

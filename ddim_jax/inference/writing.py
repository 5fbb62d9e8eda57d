"""The context that results of a checkpoint are written with."""

from collections.abc import Sequence
from typing import Any

from absl import logging

import ddim_jax
from ddim_jax.imageio.coded import parse_segments
from ddim_jax.imageio.writers import Context
from ddim_jax.runtime.errors import InputError
from ddim_jax.runtime.once import say_once
from ddim_jax.sampling_options import SamplingOptions


def writing_context(segmenter: Any, options: SamplingOptions, segments: Sequence[str] = ()) -> Context:
    """The context of results of a `Segmenter` with checked options.

    Args:
      segmenter: whose config may name coded concepts in `data.segments`; what names no class there is passed over, and
        the log says so.
      options: checked.
      segments: concepts that come before those, as `ddim_jax.imageio.coded.parse_segments` takes them.

    Raises:
      InputError: as `parse_segments`, of `segments`.
    """
    classes = segmenter.labels.class_names
    concepts = {}
    for text in segmenter.config["data"].get("segments") or ():
        try:
            concepts |= parse_segments([text], classes)
        except InputError as error:
            # A server makes a context for each image.
            told = f"{segmenter.checkpoint}: data.{error}; it is passed over, give --segments in its place"
            say_once(logging.warning, told)
    calibration, _ = segmenter.calibration(options)
    return Context(
        software=f"ddim_jax {ddim_jax.__version__}",
        checkpoint=" + ".join(segmenter.checkpoints),
        weights=segmenter.fingerprint(),
        step=segmenter.step,
        options=options,
        labels=segmenter.labels,
        segments=concepts | parse_segments(segments, classes),
        calibration=calibration,
        members=tuple((one.checkpoint, one.step) for one in (segmenter, *segmenter.others)) if segmenter.others else (),
    )

"""The context that results of a checkpoint are written with."""

from collections.abc import Sequence
from typing import Any

import ddim_jax
from ddim_jax.imageio.coded import parse_segments
from ddim_jax.imageio.writers import Context
from ddim_jax.sampling_options import SamplingOptions


def writing_context(segmenter: Any, options: SamplingOptions, segments: Sequence[str] = ()) -> Context:
    """The context of results of a `Segmenter` with checked options.

    Args:
      segmenter: whose config may name coded concepts in `data.segments`.
      options: checked.
      segments: further concepts, as `ddim_jax.imageio.coded.parse_segments` takes them.

    Raises:
      InputError: as `parse_segments`.
    """
    known = [*(segmenter.config["data"].get("segments") or ()), *segments]
    calibration, _ = segmenter.calibration(options)
    return Context(
        software=f"ddim_jax {ddim_jax.__version__}",
        checkpoint=" + ".join(segmenter.checkpoints),
        weights=segmenter.fingerprint(),
        step=segmenter.step,
        options=options,
        labels=segmenter.labels,
        segments=parse_segments(known, segmenter.labels.class_names),
        calibration=calibration,
    )

"""Formats of results, one file each. A writer registers itself, here or in a module outside of this package:

    from ddim_jax import register

    @register.writer("area")
    class Area:
        suffix = ".txt"

        def write(self, path, result, image, source, context):
            path.write_text(f"{result.mask.sum()}")

`--save area` then writes `<name>_area.txt` for each picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from ddim_jax.labels import Labels

if TYPE_CHECKING:
    from ddim_jax.inference.segmentation import Segmentation
    from ddim_jax.sampling_options import SamplingOptions


class Context(NamedTuple):
    """The facts of a run that a result file may record.

    Attributes:
      software: name and version, "ddim_jax 0.2.0".
      checkpoint: path of the checkpoint's step folder.
      weights: SHA-256 of the weights and of the config, as in `settings.json`.
      step: training steps the checkpoint had taken.
      options: how pictures are segmented.
      labels: the classes of the masks.
    """

    software: str
    checkpoint: str
    weights: str
    step: int
    options: SamplingOptions
    labels: Labels = Labels()


class Writer(Protocol):
    """A kind of result; made without arguments for each file, in one of several threads.

    Attributes:
      suffix: of the files, with its dot: ".png", ".nii.gz".
    """

    suffix: str

    def write(self, path: Path, result: Segmentation, image: np.ndarray, source: Path, context: Context) -> None:
        """Writes one file.

        Args:
          path: where to, with the suffix: a temporary name that is flushed to disk and renamed afterwards, so that
            nobody sees half a file.
          result: the segmentation, [H, W].
          image: the picture as it was read, uint8 [H, W, 3].
          source: absolute path of the picture's file.
          context: facts of the run.
        """

"""A folder of pairs in clinical formats, and the files that tests put there."""

import nibabel
import numpy as np

from ddim_jax.imageio.writers import Context
from ddim_jax.sampling_options import SamplingOptions

CONTEXT = Context(
    "ddim_jax 0", "runs/a/checkpoints/1", "ab" * 32, 1, SamplingOptions(), segments={"foreground": "Lung"}
)


WINDOW = {"WindowCenter": 0, "WindowWidth": 2000, "VOILUTFunction": "LINEAR_EXACT"}


def volume(path, values):
    nibabel.save(nibabel.Nifti1Image(values, np.diag([-1.0, -1, 3, 1])), path)

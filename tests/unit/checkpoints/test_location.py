"""Names of a checkpoint: paths, and steps of a run."""

import numpy as np
import pytest

from ddim_jax.checkpoints import CheckpointStore, which_step
from ddim_jax.runtime.errors import InputError


@pytest.mark.parametrize(
    ("given", "step"),
    [("best", "best"), ("latest", "latest"), ("800", 800), (800, 800), (np.int64(3), 3), (0, 0)],
)
def test_a_name_or_a_number(given, step):
    found = which_step(given)
    assert (found, type(found)) == (step, type(step))


@pytest.mark.parametrize("given", ["newest", "", "-1", "8.0", "\u00b2", "\u0663", "9" * 5000, -1, 8.0, True, None])
def test_anything_else_is_refused(given, tmp_path):
    for check in (which_step, CheckpointStore(tmp_path).restore_params):
        with pytest.raises(InputError, match=r"^step is .*; expected best, latest or a number of training steps$"):
            check(given)

"""What is kept for the way back, with each of the options."""

import jax
import pytest

from benchmarks.memory_options import _kept_bytes
from ddim_jax.diffusion import DiffusionProcess
from ddim_jax.models import create_model, example_inputs

FIELDS = {"base_channels": 8, "channel_multipliers": (1,), "norm_groups": 4, "stem_stride": 1}


def test_less_is_kept():
    process = DiffusionProcess.create(prediction="x0", loss="bce_dice")
    models = [create_model("lightweight_ddim", preset="small", remat=remat, **FIELDS) for remat in (False, True)]
    (whole, half), (whole_remat, _) = ([_kept_bytes(model, process, 16, batch) for batch in (8, 4)] for model in models)
    params = jax.eval_shape(models[0].init, jax.random.key(0), *example_inputs(models[0], 16))["params"]
    weights = sum(4 * leaf.size for leaf in jax.tree.leaves(params))
    assert half - weights == pytest.approx((whole - weights) / 2, rel=0.05)
    # Of the five blocks what enters remains; attention over 256 pixels, which stays as it is, is much of the rest.
    assert whole_remat < 0.6 * whole

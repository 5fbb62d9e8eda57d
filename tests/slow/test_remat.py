"""Rematerialisation changes what is kept, not what is computed."""

import jax
import numpy as np
import pytest

from ddim_jax.models import create_model

FIELDS = {"base_channels": 8, "channel_multipliers": (1,), "norm_groups": 4, "stem_stride": 1, "dropout": 0.3}


@pytest.mark.parametrize(("name", "own"), [("lightweight_ddim", {}), ("medsegdiff", {"fusion_levels": (0,)})])
def test_values_and_gradients_are_the_same(name, own):
    models = [create_model(name, preset="small", remat=remat, **FIELDS, **own) for remat in (False, True)]
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(2, 8, 8, 1)), draw.normal(size=(2, 8, 8, 3)), np.array([3, 40])
    inputs = (*(array.astype(np.float32) for array in inputs[:2]), inputs[2])
    params = models[0].init(jax.random.key(1), *inputs)["params"]
    again = jax.eval_shape(models[1].init, jax.random.key(1), *inputs)["params"]
    assert jax.tree.map(lambda leaf: leaf.shape, params) == jax.tree.map(lambda leaf: leaf.shape, again)
    # Values away from their initial ones, where norms are ones and biases zeros.
    params = jax.tree.map(lambda leaf: leaf + 0.1 * draw.normal(size=leaf.shape).astype(np.float32), params)

    def loss(model):
        def of(params):
            out = model.apply({"params": params}, *inputs, train=True, rngs={"dropout": jax.random.key(2)})
            return (out**2).mean(), out

        return jax.jit(jax.value_and_grad(of, has_aux=True))

    kept, recomputed = (loss(model)(params) for model in models)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), kept, recomputed)

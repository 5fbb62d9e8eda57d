import jax
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def full_precision():
    """On a GPU float32 products are rounded to about three digits by default; the references here are float64."""
    with jax.default_matmul_precision("highest"):
        yield


@pytest.fixture(scope="session")
def draw_params():
    """Parameters drawn for the shapes that a module has for its inputs; zeros and ones would hide what goes wrong."""

    def draw(module, *inputs, seed=0):
        shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
        rng = np.random.default_rng(seed)
        return jax.tree.map(lambda leaf: rng.normal(0.0, 0.3, leaf.shape).astype(np.float32), shapes)

    return draw

"""The whole network, tiny, against float64 NumPy; its sizes, its inputs and its arithmetic."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import numpy_unet
import pytest
from model_inputs import inputs

from ddim_jax.models import DenoisingUNet

FORMS = {
    "light": {"light": True, "channel_multipliers": (1, 2), "attention_levels": (1,), "stem_stride": 1},
    "ordinary": {"light": False, "channel_multipliers": (1, 2), "attention_levels": (), "stem_stride": 2},
}


def build(form, **fields):
    return DenoisingUNet(base_channels=16, blocks_per_level=1, norm_groups=4, **{**FORMS[form], **fields})


@pytest.fixture(scope="module")
def compiled(draw_params):
    """form -> (model, parameters, compiled call), each made once."""

    @functools.cache
    def make(form):
        model = build(form)
        call = jax.jit(lambda params, *given: model.apply({"params": params}, *given))
        return model, draw_params(model, *inputs()), call

    return make


def in_numpy(model, params, given):
    return numpy_unet.unet(
        params, *given, levels=len(model.channel_multipliers), blocks=1, base=16, norm_groups=4, patch=model.stem_stride
    )


# The same parameters serve both sizes; neither is square, so that rows and columns cannot be exchanged.
@pytest.mark.parametrize("size", [(8, 12), (4, 8)])
@pytest.mark.parametrize("form", FORMS)
def test_equals_numpy(compiled, form, size):
    model, params, call = compiled(form)
    given = inputs(*size)
    output = call(params, *given)
    assert output.dtype == jnp.float32 and output.shape == (2, *size, 1)
    expected = in_numpy(model, params, given)
    np.testing.assert_allclose(output, expected, atol=2e-4 * np.abs(expected).max())


def test_depends_on_every_input_of_the_same_example_alone(compiled):
    _, params, call = compiled("light")
    noisy_mask, image, t = inputs()
    before = call(params, noisy_mask, image, t)

    def changed(array, by):
        array = array.copy()
        array[0] += by
        return array

    for given in (
        (changed(noisy_mask, 0.5), image, t),
        (noisy_mask, changed(image, 0.5), t),
        (noisy_mask, image, changed(t, 100)),
    ):
        after = call(params, *given)
        assert np.abs(after[0] - before[0]).max() > 1e-2 * np.abs(before).max()
        np.testing.assert_allclose(after[1], before[1], rtol=1e-5, atol=1e-5 * np.abs(before).max())


def test_attention_sits_at_the_levels_that_are_named():
    def attentions(**fields):
        model = build("light", **fields)
        shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs())["params"]
        return {name for name in shapes if "attn" in name}

    assert attentions(attention_levels=()) == {"mid_attn_1"}
    assert attentions(attention_levels=(0,)) == {"mid_attn_1", "down_0_attn_0", "up_0_attn_0", "up_0_attn_1"}
    assert attentions(attention_levels=(1,)) == {"mid_attn_1", "down_1_attn_0", "up_1_attn_0", "up_1_attn_1"}


@pytest.fixture(scope="module")
def bfloat16(draw_params):
    """One level is enough here, and compiles in less time."""
    model = build("light", channel_multipliers=(1,), attention_levels=(), dtype=jnp.bfloat16)
    return model, draw_params(model, *inputs(4, 4))


def test_bfloat16_is_close_and_keeps_parameters_and_output_in_float32(bfloat16):
    model, params = bfloat16
    own = jax.eval_shape(model.init, jax.random.key(0), *inputs(4, 4))["params"]
    assert {leaf.dtype for leaf in jax.tree.leaves(own)} == {jnp.dtype("float32")}

    output = jax.jit(lambda params, *given: model.apply({"params": params}, *given))(params, *inputs(4, 4))
    assert output.dtype == jnp.float32
    exact = in_numpy(model, params, inputs(4, 4))
    difference = np.sqrt(np.mean((output - exact) ** 2)) / np.std(exact)
    assert 1e-5 < difference < 0.03  # float32 would be below


def test_bfloat16_leaves_normalisation_and_softmax_in_float32(bfloat16):
    model, params = bfloat16
    text = str(jax.make_jaxpr(lambda params, *given: model.apply({"params": params}, *given))(params, *inputs(4, 4)))

    def dtypes(operation):
        return set(re.findall(rf":(\w+)\[[^\]]*\] = {operation}\b", text))

    assert dtypes("conv_general_dilated") == {"bf16"}
    assert dtypes("rsqrt") == {"f32"}  # of the normalisation
    assert dtypes("reduce_max") == {"f32"}  # of the softmax


@pytest.mark.parametrize(
    ("form", "size", "multiple"),
    [("light", (8, 9), 2), ("light", (7, 8), 2), ("ordinary", (8, 10), 4), ("ordinary", (6, 8), 4)],
)
def test_a_size_that_cannot_be_halved_is_refused(form, size, multiple):
    model = build(form)
    assert model.size_multiple == multiple
    with pytest.raises(ValueError, match=f"size {size[0]} x {size[1]}: both have to be multiples of {multiple}"):
        jax.eval_shape(model.init, jax.random.key(0), *inputs(*size))

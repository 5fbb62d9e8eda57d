"""Operations of programs that leave this machine have the values of those that stay."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddim_jax.ops import (
    filter_spectrum,
    group_norm,
    grouped_conv,
    is_portable,
    join_channels,
    portable_operations,
    upsample_conv,
)


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


OPERATIONS = {
    "convolution": lambda: grouped_conv(
        drawn(2, 16, 16, 32), drawn(3, 3, 8, 16), drawn(16), groups=4, strides=(2, 2), padding=((0, 1), (0, 1))
    ),
    "bias for each image": lambda: grouped_conv(drawn(2, 8, 8, 8), drawn(1, 1, 4, 8), drawn(2, 8), groups=2),
    "upsampling": lambda: upsample_conv(drawn(2, 16, 16, 8), drawn(3, 3, 8, 4), drawn(4)),
    "join": lambda: join_channels(drawn(2, 128, 128, 8), drawn(2, 128, 128, 4)),
    "normalisation": lambda: group_norm(drawn(2, 8, 8, 8), drawn(8), drawn(8), groups=2, silu=True),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_values(name):
    expected = OPERATIONS[name]()
    with portable_operations():
        np.testing.assert_allclose(OPERATIONS[name](), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 6, 10, 2), (1, 7, 9, 1)])
def test_the_spectrum_by_matrices(shape):
    x, weight = drawn(*shape), drawn(shape[1], shape[2] // 2 + 1, shape[3], 2, seed=1)
    spectrum = np.fft.rfft2(x, axes=(1, 2)) * (weight[..., 0] + 1j * weight[..., 1])
    expected = np.fft.irfft2(spectrum, s=shape[1:3], axes=(1, 2))
    np.testing.assert_allclose(filter_spectrum(x, jnp.asarray(weight)), expected, atol=1e-5)
    with portable_operations():
        np.testing.assert_allclose(filter_spectrum(x, jnp.asarray(weight)), expected, atol=1e-5)


def test_one_form_for_every_platform():
    with portable_operations():
        assert is_portable()
        for operation in OPERATIONS.values():
            text = str(jax.make_jaxpr(lambda operation=operation: operation())())
            assert "platform_index" not in text and "ffi_call" not in text
    assert not is_portable()


def test_one_program_for_any_number_of_images():
    """Programs of `export`: no operation asks how many images there are."""

    def network(x):
        x = grouped_conv(x, jnp.ones((3, 3, 4, 8)), groups=2)
        x = group_norm(join_channels(x, x), jnp.ones(16), jnp.ones(16), groups=2)
        return upsample_conv(x, jnp.ones((3, 3, 16, 1)), jnp.ones(1))

    (batch,) = jax.export.symbolic_shape("batch")
    with portable_operations():
        program = jax.export.export(jax.jit(network))(jax.ShapeDtypeStruct((batch, 8, 8, 8), jnp.float32))
        for images in (1, 3):
            x = drawn(images, 8, 8, 8)
            np.testing.assert_allclose(program.call(x), network(x), rtol=1e-4, atol=1e-4)


def test_what_was_traced_before_is_traced_again():
    """And comes back: neither form is taken for the other."""
    traced = []

    @jax.jit
    def function(x):
        traced.append(is_portable())
        return group_norm(x, jnp.ones(4), jnp.ones(4), groups=2)

    x = jnp.ones((1, 3, 5, 4))
    plain = function.lower(x).as_text()
    with portable_operations():
        assert "ddim_jax_group_norm" not in function.lower(x).as_text()
    assert function.lower(x).as_text() == plain
    assert traced[:2] == [False, True]


def test_the_spectrum_of_a_portable_program_is_float32_on_every_platform():
    with portable_operations():
        text = str(jax.make_jaxpr(filter_spectrum)(jnp.ones((1, 4, 4, 1)), jnp.ones((4, 3, 1, 2))))
    assert text.count("dot_general[") == text.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") > 0

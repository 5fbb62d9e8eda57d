"""An image's spectrum multiplied by a map: by FFT, or in a program to take away by matrix products."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ddim_jax.ops.portable import is_portable


def filter_spectrum(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Multiplies the two-dimensional spectrum of each channel by a complex map.

    Args:
      x: float32 [batch, H, W, C].
      weight: float32 [H, W//2 + 1, C, 2], real and imaginary parts at the frequencies of `numpy.fft.rfft2`.

    Returns:
      float32 [batch, H, W, C], irfft2(rfft2(x) * weight).
    """
    height, width = x.shape[1:3]
    if is_portable():
        return _by_matrices(x, weight)
    spectrum = jnp.fft.rfft2(x, axes=(1, 2)) * jax.lax.complex(weight[..., 0], weight[..., 1])
    return jnp.fft.irfft2(spectrum, s=(height, width), axes=(1, 2))


def _by_matrices(x: jax.Array, weight: jax.Array) -> jax.Array:
    """The filtered array in real arithmetic: exporters have no 2-D FFT, and runtimes no complex numbers."""
    height, width = x.shape[1:3]
    rows_cos, rows_sin = _waves(height, height)
    columns_cos, columns_sin = _waves(width, width // 2 + 1)
    # A frequency and its negative are one column, but for 0 and the highest of an even width.
    twice = np.where((np.arange(width // 2 + 1) == 0) | (2 * np.arange(width // 2 + 1) == width), 1.0, 2.0)
    back_cos, back_sin = (
        (part.T * twice[:, None] / (height * width)).astype(np.float32) for part in (columns_cos, columns_sin)
    )

    # A GPU would multiply with three decimal digits.
    product = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)

    def columns(values, wave):
        return product("bhwc,wk->bhkc", values, wave.astype(np.float32))

    def rows(values, wave):
        return product("bhkc,hj->bjkc", values, wave.astype(np.float32))

    real, imaginary = columns(x, columns_cos), -columns(x, columns_sin)
    real, imaginary = (
        rows(real, rows_cos) + rows(imaginary, rows_sin),
        rows(imaginary, rows_cos) - rows(real, rows_sin),
    )
    real, imaginary = (
        real * weight[..., 0] - imaginary * weight[..., 1],
        real * weight[..., 1] + imaginary * weight[..., 0],
    )
    real, imaginary = (
        rows(real, rows_cos) - rows(imaginary, rows_sin),
        rows(imaginary, rows_cos) + rows(real, rows_sin),
    )
    return product("bhkc,kw->bhwc", real, back_cos) - product("bhkc,kw->bhwc", imaginary, back_sin)


def _waves(size: int, frequencies: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines float64 [size, frequencies] of 2 pi n k / size."""
    angles = 2 * np.pi * (np.outer(np.arange(size), np.arange(frequencies)) % size) / size
    return np.cos(angles), np.sin(angles)

"""The network with its convolutions left to XLA: `lax.conv_general_dilated` with `feature_group_count`."""

import contextlib
from collections.abc import Iterator
from unittest import mock

from jax import lax

from ddim_jax.ops import upsample_nearest

_LAYOUT = ("NHWC", "HWIO", "NHWC")


@contextlib.contextmanager
def plain_convolutions() -> Iterator[None]:
    """Traces plain convolutions inside and no compiled kernels; group normalisation stays one pass in JAX.

    The layers are patched from outside, so that the package needs no switch.
    """
    with (
        mock.patch("ddim_jax.models.layers.grouped_conv", _grouped_conv),
        mock.patch("ddim_jax.models.layers.upsample_conv", _upsample_conv),
        mock.patch("ddim_jax.ops.cpu_kernels.available", lambda: False),
    ):
        yield


def _grouped_conv(x, kernel, bias=None, *, groups=1, strides=(1, 1), padding="SAME"):
    y = lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_LAYOUT, feature_group_count=groups)
    return y if bias is None else y + (bias if bias.ndim == 1 else bias[:, None, None, :])


def _upsample_conv(x, kernel, bias):
    return _grouped_conv(upsample_nearest(x), kernel, bias)

"""The operations that decide the speed of the networks: convolutions and normalisation, on plain arrays."""

from ddim_jax.ops.group_norm import group_norm
from ddim_jax.ops.grouped_conv import grouped_conv
from ddim_jax.ops.join_channels import join_channels
from ddim_jax.ops.portable import is_portable, portable_operations
from ddim_jax.ops.spectrum import filter_spectrum
from ddim_jax.ops.upsample_conv import upsample_conv, upsample_nearest

__all__ = [
    "filter_spectrum",
    "group_norm",
    "grouped_conv",
    "is_portable",
    "join_channels",
    "portable_operations",
    "upsample_conv",
    "upsample_nearest",
]

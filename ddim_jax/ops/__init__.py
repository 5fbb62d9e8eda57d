"""The operations that decide the speed of the networks: convolutions and normalisation, on plain arrays."""

from ddim_jax.ops.group_norm import group_norm
from ddim_jax.ops.grouped_conv import grouped_conv
from ddim_jax.ops.upsample_conv import upsample_conv, upsample_nearest

__all__ = ["group_norm", "grouped_conv", "upsample_conv", "upsample_nearest"]

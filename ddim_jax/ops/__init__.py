"""The operations that decide the speed of the networks: grouped convolution and normalisation, on plain arrays."""

from ddim_jax.ops.group_norm import group_norm
from ddim_jax.ops.grouped_conv import grouped_conv

__all__ = ["group_norm", "grouped_conv"]

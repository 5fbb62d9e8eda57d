"""The networks, by name through `create_model`."""

from ddim_jax.models.unet import DenoisingUNet
from ddim_jax.models.zoo import create_model

__all__ = ["DenoisingUNet", "create_model"]

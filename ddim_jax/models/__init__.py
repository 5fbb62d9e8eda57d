"""The networks, by name through `create_model`."""

from ddim_jax.models.medsegdiff import MedSegDiff
from ddim_jax.models.plain_unet import PlainUNet
from ddim_jax.models.unet import DenoisingUNet
from ddim_jax.models.zoo import create_model, create_process, example_inputs

__all__ = ["DenoisingUNet", "MedSegDiff", "PlainUNet", "create_model", "create_process", "example_inputs"]

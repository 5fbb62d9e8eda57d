"""The networks, by name through `create_model`: one file each, in which they register themselves."""

from ddim_jax.models.medsegdiff import MedSegDiff
from ddim_jax.models.network import Network
from ddim_jax.models.plain_unet import PlainUNet
from ddim_jax.models.spec import ModelSpec, create_model, create_process, example_inputs, model_spec, param_shapes
from ddim_jax.models.trunk_ddim import TrunkDDIM
from ddim_jax.models.unet import DenoisingUNet

__all__ = [
    "DenoisingUNet",
    "MedSegDiff",
    "ModelSpec",
    "Network",
    "PlainUNet",
    "TrunkDDIM",
    "create_model",
    "create_process",
    "example_inputs",
    "model_spec",
    "param_shapes",
]

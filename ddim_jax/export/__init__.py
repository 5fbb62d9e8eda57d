"""A checkpoint as one file that segments without this package: StableHLO, ONNX, OpenVINO."""

from ddim_jax.export.file import Exported, export_checkpoint
from ddim_jax.export.formats import FORMATS

__all__ = ["FORMATS", "Exported", "export_checkpoint"]

"""Segmenting new images with a trained checkpoint: in memory (`Segmenter`) and from files (`segment_files`)."""

from ddim_jax.inference.ensemble import Ensemble, load_checkpoints
from ddim_jax.inference.file_options import FileOptions
from ddim_jax.inference.files import Summary, segment_files
from ddim_jax.inference.processes import Process
from ddim_jax.inference.segmentation import Segmentation
from ddim_jax.inference.segmenter import Segmenter
from ddim_jax.sampling_options import SamplingOptions

__all__ = [
    "Ensemble",
    "FileOptions",
    "Process",
    "SamplingOptions",
    "Segmentation",
    "Segmenter",
    "Summary",
    "load_checkpoints",
    "segment_files",
]

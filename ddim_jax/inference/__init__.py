"""Segmenting new images with a trained checkpoint: in memory (`Segmenter`) and from files (`segment_files`)."""

from ddim_jax.inference.files import Summary, segment_files
from ddim_jax.inference.options import SIZES
from ddim_jax.inference.segmentation import Segmentation
from ddim_jax.inference.segmenter import Segmenter
from ddim_jax.inference.settings import Settings

__all__ = ["SIZES", "Segmentation", "Segmenter", "Settings", "Summary", "segment_files"]

"""Checkpoints: save, verify by SHA-256, restore; the newest intact one is used, and damage is named by file."""

from ddim_jax.checkpoints.folders import locate, which_step
from ddim_jax.checkpoints.store import CheckpointStore, Restored

__all__ = ["CheckpointStore", "Restored", "locate", "which_step"]

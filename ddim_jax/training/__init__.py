"""Training: state, step, validation, loop."""

from ddim_jax.training.loop import train

__all__ = ["train"]

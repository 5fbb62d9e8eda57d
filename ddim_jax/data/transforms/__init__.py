"""Transforms of training pairs, one file each; none yet. Each registers itself in `ddim_jax.registry.TRANSFORMS`."""

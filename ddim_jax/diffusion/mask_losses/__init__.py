"""Losses that compare a mask with the truth, one file for each; each registers itself in `ddim_jax.registry.LOSSES`."""

"""The reverse process, one file for each sampler; each registers itself in `ddim_jax.registry.SAMPLERS`."""

"""Ways to fuse the samples of one image, one file each; each registers itself in `ddim_jax.registry.ENSEMBLES`.

An ensemble is a function of samples [S, h, w] and a `Protocol` that returns the probability, float32 [h, w] in [0, 1],
which is cut at the protocol's threshold. `ddim_jax.aggregation.of_masks` makes one of a function of masks, cut at 0.5.
"""

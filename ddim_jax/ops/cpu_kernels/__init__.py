"""Compiled CPU kernels, an optional extra: `ddim-jax doctor --build-kernels` builds them with a C++ compiler.

XLA's CPU backend has no fast grouped convolution, and none of its formulations of group normalisation is near the speed
of memory. These kernels are called through XLA's foreign function interface, on XLA's own threads; their results do not
depend on the number of threads. Where they are not built, `ops` uses formulations in JAX alone.
"""

from ddim_jax.ops.cpu_kernels.calls import adam, join, norm, norm_of, threefry
from ddim_jax.ops.cpu_kernels.convolutions import Geometry, conv, conv_transposed, doubled_conv, no_bias
from ddim_jax.ops.cpu_kernels.library import TARGETS, available, build, compiler, library_path, loaded_digest

__all__ = [
    "TARGETS",
    "Geometry",
    "adam",
    "available",
    "build",
    "compiler",
    "conv",
    "conv_transposed",
    "doubled_conv",
    "join",
    "library_path",
    "loaded_digest",
    "no_bias",
    "norm",
    "norm_of",
    "threefry",
]

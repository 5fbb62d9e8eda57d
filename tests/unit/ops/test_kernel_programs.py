"""Programs with compiled kernels: under vmap, which operations use them, and on any number of threads."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_cpu_kernels import whole_numbers

from ddim_jax.ops import group_norm, grouped_conv, join_channels, upsample_conv
from ddim_jax.ops.cpu_kernels import library

pytestmark = pytest.mark.needs_kernels


def test_vmap_gives_what_a_loop_gives():
    rng = np.random.default_rng(0)
    x, kernel, bias = whole_numbers(rng, 3, 2, 6, 6, 8), whole_numbers(rng, 3, 3, 4, 8), whole_numbers(rng, 3, 8)
    scale = rng.normal(size=8).astype(np.float32)

    def network(x, kernel, bias):
        return group_norm(grouped_conv(x, kernel, bias, groups=2), scale, scale, groups=2, silu=True)

    def gradients(x, kernel, bias):
        return jax.grad(lambda *o: jnp.sum(network(*o) ** 2), (0, 1, 2))(x, kernel, bias)

    together = jax.jit(jax.vmap(network, (0, None, 0)))(x, kernel, bias)
    np.testing.assert_array_equal(together, jnp.stack([jax.jit(network)(x[i], kernel, bias[i]) for i in range(3)]))
    kernels = whole_numbers(rng, 3, 3, 3, 4, 8)
    each = [jax.jit(gradients)(x[i], kernels[i], bias[i]) for i in range(3)]
    for got, *want in zip(jax.jit(jax.vmap(gradients))(x, kernels, bias), *each, strict=True):
        np.testing.assert_allclose(got, jnp.stack(want), rtol=1e-5, atol=1e-5)


def test_the_public_operations_use_the_kernels_for_float32_alone():
    def targets(dtype, side=16):
        x, kernel = jnp.zeros((1, side, side, 16), dtype), jnp.zeros((3, 3, 8, 16), dtype)

        def network(x, kernel):
            y = group_norm(grouped_conv(x, kernel, groups=2), jnp.ones(16), jnp.ones(16), groups=2)
            y = grouped_conv(y, jnp.ones((3, 3, 16, 16), dtype))
            y = join_channels(y[..., :8], y[..., 8:])
            return upsample_conv(y, jnp.ones((3, 3, 16, 4), dtype), jnp.ones(4, dtype))

        text = jax.jit(network).lower(x, kernel).as_text()
        return {name for name in library.TARGETS if f"@{name}(" in text}

    convolutions = {"ddim_jax_grouped_conv", "ddim_jax_grouped_conv_transposed", "ddim_jax_winograd_conv"}
    assert targets(jnp.float32) == {"ddim_jax_group_norm", *convolutions}
    assert targets(jnp.float32, side=2) == {"ddim_jax_group_norm", "ddim_jax_grouped_conv", "ddim_jax_in_place_conv"}
    assert targets(jnp.float32, side=128) - targets(jnp.float32) == {"ddim_jax_join"}
    assert targets(jnp.bfloat16) == targets(jnp.bfloat16, side=128) == set()


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_number_of_threads():
    program = """
import os, sys, hashlib
os.sched_setaffinity(0, set(list(os.sched_getaffinity(0))[:int(sys.argv[1])]))
import jax, jax.numpy as jnp, numpy as np
from ddim_jax.ops import group_norm, grouped_conv
rng = np.random.default_rng(0)
shapes = [(3, 48, 48, 64), (3, 3, 8, 64), (3, 3, 64, 40)]
x, k, dense = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes)
def loss(x, k, dense):
    y = group_norm(grouped_conv(x, k, groups=8), jnp.ones(64), jnp.zeros(64), groups=8, silu=True)
    y = grouped_conv(y, dense) + grouped_conv(y, dense[1:2, 1:2])
    return jnp.sum(jnp.sin(y)) + jnp.sum(grouped_conv(y[:, :2, :2, :8], k))
y = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(x, k, dense)
print(hashlib.sha256(b"".join(np.asarray(v).tobytes() for v in jax.tree.leaves(y[1]))).hexdigest())
"""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if cores < 2:
        pytest.skip("needs two cores")
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "0"}  # each its own program, for its threads
    command = [sys.executable, "-c", program]
    digests = {
        subprocess.run([*command, str(n)], env=environment, capture_output=True, text=True, check=True).stdout
        for n in (1, 2)
    }
    assert len(digests) == 1

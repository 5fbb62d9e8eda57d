"""Upper bounds of the machine: matrix products and copies, measured in both frameworks; each lives in a worker."""

import time
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

_REPEATS = 5
_SIZES = {"gpu": (8192, 2**30), "cpu": (2048, 2**28), "tiny": (128, 2**20)}
"""Side of the square matrices, bytes of the array that is copied. The matrices are random: a GPU does ones faster."""


class JaxMachine:
    """The machine as JAX sees it."""

    def about(self) -> dict[str, Any]:
        """The device and the versions."""
        import jax

        from ddim_jax.ops import cpu_kernels

        device = jax.devices()[0]
        return {
            "platform": device.platform,
            "device": device.device_kind,
            "compiled_cpu_kernels": cpu_kernels.available(),
            "versions": {name: metadata.version(name) for name in ("ddim_jax", "jax", "jaxlib", "flax", "optax")},
        }

    def ceilings(self, dtypes: Sequence[str], sizes: str) -> dict[str, float]:
        """{"float32": ..., "bytes": ...}: operations a second of products in each format, bytes a second of copies."""
        import jax
        import jax.numpy as jnp

        side, size = _SIZES[sizes]
        found = {}
        for dtype in dtypes:
            kind = "bfloat16" if dtype == "bfloat16" else "float32"
            x = jax.random.normal(jax.random.key(0), (side, side), kind)
            with jax.default_matmul_precision("highest" if dtype == "float32" else "default"):
                product = jax.jit(jnp.matmul).lower(x, x).compile()
            found[dtype] = 2 * side**3 / _best(lambda product=product, x=x: product(x, x), jax.block_until_ready)
        source = jnp.zeros(size // 4, jnp.float32)
        move = jax.jit(lambda x: x + 1.0).lower(source).compile()
        found["bytes"] = 2 * size / _best(lambda: move(source), jax.block_until_ready)
        return found


class TorchMachine:
    """The machine as PyTorch sees it; the methods are those of `JaxMachine`."""

    def __init__(self, threads: int):
        import torch

        torch.set_num_threads(threads)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def about(self) -> dict[str, Any]:
        import torch

        cuda = self._device.type == "cuda"
        versions = {"torch": torch.__version__}
        if cuda:
            versions |= {"cuda (torch)": torch.version.cuda, "cudnn (torch)": str(torch.backends.cudnn.version())}
        return {"platform": "gpu" if cuda else "cpu", "versions": versions}

    def ceilings(self, dtypes: Sequence[str], sizes: str) -> dict[str, float]:
        import torch

        def wait(_) -> None:
            if self._device.type == "cuda":
                torch.cuda.synchronize()

        side, size = _SIZES[sizes]
        found = {}
        for dtype in dtypes:
            torch.backends.cuda.matmul.allow_tf32 = dtype != "float32"
            x = torch.randn(
                side, side, dtype=torch.bfloat16 if dtype == "bfloat16" else torch.float32, device=self._device
            )
            found[dtype] = 2 * side**3 / _best(lambda x=x: torch.mm(x, x), wait)
        source = torch.zeros(size // 4, device=self._device)
        target = torch.empty_like(source)
        found["bytes"] = 2 * size / _best(lambda: target.copy_(source), wait)
        return found


def _best(call: Callable[[], Any], wait: Callable[[Any], Any]) -> float:
    """Seconds of the fastest call, after one that is not counted."""
    wait(call())
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        wait(call())
        times.append(time.perf_counter() - began)
    return min(times)

"""All that decides on the bits of a result besides weights, options and images: kept with what was computed."""

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax
from absl import logging

import ddim_jax
from ddim_jax.runtime.cache_folder import processor_digest

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
_VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE", "JAX_DISABLE_MOST_OPTIMIZATIONS")


def environment(kernels: str | None) -> dict[str, str]:
    """Versions, device, instructions of the processor, compiled kernels, and flags of XLA, each as a text.

    It is JSON-serialisable, for the metadata of a checkpoint and the settings of a folder of results; what JAX's random
    numbers depend on is not in it, for that is pinned (`ddim_jax.runtime.pinned`).

    Args:
      kernels: the digest of the compiled kernels (`ddim_jax.ops.cpu_kernels.loaded_digest`); None without them.
    """
    device = jax.devices()[0]
    return {
        "ddim_jax": ddim_jax.__version__,
        **{name: metadata.version(name) for name in _PACKAGES},
        "device": f"{device.platform} {device.device_kind}",
        "processor": f"{platform.machine()} {processor_digest()}",
        "kernels": kernels or "none",
        "matmul_precision": str(jax.config.jax_default_matmul_precision),
        **{name: os.environ.get(name, "") for name in _VARIABLES},
    }


def warn_if_changed(before: Any, of: str, now: Mapping[str, str]) -> None:
    """Logs a warning where what was computed before was so in another environment: the bits may differ.

    Args:
      before: what `environment` gave then, as it was read back; anything else says nothing, as of older versions.
      of: the thing it was kept with, for the message.
      now: what it gives.
    """
    found = differences(before, now)
    if found:
        logging.warning("%s: %s. Results may differ in their last bits from what is there", of, "; ".join(found))


def differences(before: Any, now: Mapping[str, str]) -> list[str]:
    """The changes since, a text for each; only what both have is compared."""
    if not isinstance(before, Mapping):
        return []
    return [
        f"{name} was {before[name] or 'not set'}, is {value or 'not set'}"
        for name, value in now.items()
        if isinstance(before.get(name), str) and before[name] != value
    ]
